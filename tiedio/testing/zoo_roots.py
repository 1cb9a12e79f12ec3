"""The model classes of the zoo whose root is subclassed."""

from __future__ import annotations

from typing import Any

import keras

from tiedio.testing.zoo_base import share
from tiedio.testing.zoo_layers import Calls

_register = keras.saving.register_keras_serializable(package="tiedio_zoo")
layers = keras.layers


@_register
class SharesAChild(keras.Model):
    """Holds one dense layer in two attributes, in a list, in a custom layer and in a model."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.dense = self.also_dense = layers.Dense(units, activation="tanh", name="dense")
        self.calls = Calls(self.dense, name="calls")
        self.listed = [self.dense, layers.Dense(units, name="other")]
        self.inner = keras.Sequential([self.dense, layers.Dense(units, name="last")], name="inner")

    def call(self, inputs: Any) -> Any:
        return self.inner(self.calls(self.also_dense(inputs))) + self.listed[0](inputs) + self.listed[1](inputs)

    def get_config(self) -> Any:
        return super().get_config() | {"units": self.units}


@_register
class OneArgument(keras.Model):
    """Two dense layers made in the constructor, tied in `build`."""

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(units, activation="tanh", name="first")
        self.second = layers.Dense(units, name="second")

    def call(self, inputs: Any) -> Any:
        return self.second(self.first(inputs))

    def get_config(self) -> Any:
        return super().get_config() | {"units": self.units}


@_register
class TiedRoot(OneArgument):
    """The same, with a `build` that ties the two kernels."""

    def build(self, input_shape: Any) -> None:
        self.first.build(input_shape)
        self.second.build(input_shape)
        share(self.second, "_kernel", self.first)
        self.built = True


@_register
class TwoArguments(keras.Model):
    """A model that is called with two arguments, and trained on a pair of them."""

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.question = layers.Dense(units, name="question")
        self.answer = layers.Dense(units, name="answer")
        self.head = layers.Dense(1, name="head")

    def call(self, question: Any, answer: Any) -> Any:
        return self.head(keras.ops.tanh(self.question(question)) * self.answer(answer))

    def train_step(self, data: Any) -> Any:
        """Called by Keras; the inputs are a pair."""
        import tensorflow as tf

        (question, answer), targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=targets, y_pred=self(question, answer, training=True))
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return {"loss": loss}

    def get_config(self) -> Any:
        return super().get_config() | {"units": self.units}


@_register
class KeywordArgument(keras.Model):
    """A model with a second argument that is a keyword, and a flag."""

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.base = layers.Dense(units, name="base")
        self.extra = layers.Dense(units, name="extra")

    def call(self, inputs: Any, *, context: Any = None, double: bool = False, training: bool = False) -> Any:
        hidden = self.base(inputs)
        if context is not None:
            hidden = hidden + self.extra(context)
        return hidden * (2.0 if double else 1.0)

    def get_config(self) -> Any:
        return super().get_config() | {"units": self.units}


@_register
class BuiltByHand(keras.Model):
    """A model whose layers are built one by one, by whoever uses it."""

    def __init__(self, units: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.first, self.second = layers.Dense(units, name="first"), layers.Dense(units, name="second")

    def call(self, inputs: Any) -> Any:
        return self.second(keras.ops.relu(self.first(inputs)))

    def get_config(self) -> Any:
        return super().get_config() | {"units": self.units}


@_register
class FunctionalSubclass(keras.Model):
    """A functional model made by a constructor; it leaves its config to Keras."""

    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        inputs = keras.Input((width,), name="inputs")
        dense = layers.Dense(width, activation="tanh", name="dense")
        outputs = layers.Dense(1, name="head")(dense(dense(inputs)))
        super().__init__(inputs, outputs, **kwargs)
        self.width = width

    def get_config(self) -> Any:
        return {"width": self.width, "name": self.name}


@_register
class FunctionalSubclassWithExtra(keras.Model):
    """A functional model whose constructor holds a layer of its graph, and one more, in attributes."""

    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        inputs = keras.Input((width,), name="inputs")
        dense = layers.Dense(width, activation="tanh", name="dense")
        super().__init__(inputs, layers.Dense(width, name="head")(dense(inputs)), **kwargs)
        self.width = width
        self.kept = dense
        self.extra = layers.Dense(width, name="extra")
        self.extra.build((None, width))

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.extra(self.kept(super().call(inputs, training=training)))

    def get_config(self) -> Any:
        return {"width": self.width, "name": self.name}


@_register
class HoldsAModel(keras.Model):
    """A subclassed model that is given a model, and serializes it."""

    def __init__(self, inner: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = inner
        self.head = layers.Dense(4, name="head")

    def call(self, inputs: Any) -> Any:
        return self.head(self.inner(inputs))

    def get_config(self) -> Any:
        return super().get_config() | {"inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)
