"""Layers and models with classes of their own, for random models: what a user's code might look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from tiedio.serialization import serializable
from tiedio.testing.strategies_table import DTYPES, WIDTH

PACKAGE = "tiedio.testing"


@keras.saving.register_keras_serializable(PACKAGE)
class Aliased(keras.layers.Layer):
    """A layer whose own code holds one variable in two attributes, in a list and in a dict."""

    def build(self, input_shape: Any) -> None:
        """Makes the one variable.

        Args:
            input_shape: shape of the input, batch included.
        """
        self.first = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="first")
        self.second = self.first
        self.more = [self.first]
        self.named = {"scale": self.first}

    def call(self, inputs: Any) -> Any:
        """Scales the input by the sum of the four slots.

        Args:
            inputs: a float tensor.

        Returns:
            A tensor of the same shape.
        """
        return inputs * (self.first + self.second + self.more[0] + self.named["scale"])


def _zeros(shape: Any, dtype: Any = None) -> Any:
    """Zeros of any dtype: TensorFlow makes none of float8 directly."""
    return keras.ops.cast(keras.ops.zeros(shape, "float32"), dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class Typed(keras.layers.Layer):
    """A layer that holds a variable of each dtype, none of them trained."""

    def build(self, input_shape: Any) -> None:
        """Makes the variables.

        Args:
            input_shape: shape of the input, batch included.
        """
        self.typed = {
            dtype: self.add_weight(
                shape=(input_shape[-1],), initializer=_zeros, dtype=dtype, trainable=False, autocast=False, name=dtype
            )
            for dtype in DTYPES
        }

    def call(self, inputs: Any) -> Any:
        """Adds two of the variables.

        Args:
            inputs: a float tensor.

        Returns:
            A tensor of the same shape.
        """
        added = keras.ops.cast(self.typed["int8"], inputs.dtype) + keras.ops.cast(self.typed["bool"], inputs.dtype)
        return inputs + 0.125 * added


@serializable(package=PACKAGE)
class Transposed(keras.layers.Layer):
    """A layer that refers to a dense one and multiplies with the transpose of its kernel.

    Args:
        source: the dense layer.
    """

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def build(self, input_shape: Any) -> None:
        """Makes the bias, and the dense layer's variables if nothing else has made them.

        Args:
            input_shape: shape of the input, batch included.
        """
        if not self.source.built:
            self.source.build(input_shape)
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Multiplies and adds the biases: every variable of the dense layer takes part and has a gradient.

        Args:
            inputs: a float tensor.

        Returns:
            A tensor of the same shape.
        """
        outputs = keras.ops.matmul(inputs, keras.ops.transpose(self.source.kernel)) + self.bias
        return outputs + self.source.bias if self.source.use_bias else outputs


@serializable(package=PACKAGE)
class Given(keras.layers.Layer):
    """A layer that is given a dense one in a list, and that one's kernel, a variable, in a dict.

    Args:
        sources: the dense layer.
        variables: the kernel, as `"kernel"`.
    """

    def __init__(self, sources: Sequence[Any], variables: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sources = sources
        self.matrix = variables["kernel"]

    def call(self, inputs: Any) -> Any:
        """Calls the dense layer, and adds what the kernel that it was given makes of the input.

        Args:
            inputs: a float tensor.

        Returns:
            A tensor of the same shape.
        """
        return self.sources[0](inputs) + keras.ops.matmul(inputs, self.matrix)


@keras.saving.register_keras_serializable(PACKAGE)
class Projection(keras.layers.Layer):
    """A dense layer without activation that can be told to use another one's kernel before it is built.

    Args:
        units: size of the last axis of the output.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.kernel: Any = None

    def build(self, input_shape: Any) -> None:
        """Makes the variables that are not there yet.

        Args:
            input_shape: shape of the input, batch included.
        """
        if self.kernel is None:
            self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Multiplies with the kernel and adds the bias.

        Args:
            inputs: a float tensor.

        Returns:
            A tensor whose last axis has `units` entries.
        """
        return keras.ops.matmul(inputs, self.kernel) + self.bias

    def get_config(self) -> dict[str, Any]:
        """The configuration.

        Returns:
            A dict.
        """
        return {**super().get_config(), "units": self.units}


class _Parts(keras.Model):
    """A model that is given its layers; what is common to those of one and of two arguments."""

    def __init__(self, parts: Iterable[Any], container: str = "list", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        parts = list(parts)
        self.container = container
        if container == "dict":
            self.parts: Any = {f"part_{number}": part for number, part in enumerate(parts)}
        elif container == "tuple":
            self.parts = tuple(parts)
        elif container == "nested":
            self.parts = {"head": [parts[0]], "tail": (parts[1:], {"number": len(parts)})}
        else:
            self.parts = parts

    def _in_order(self) -> list[Any]:
        if self.container == "dict":
            return list(self.parts.values())
        if self.container == "nested":
            return [*self.parts["head"], *self.parts["tail"][0]]
        return list(self.parts)

    def _chain(self, inputs: Any) -> Any:
        for part in self._in_order():
            inputs = part(inputs)
        return inputs

    def get_config(self) -> dict[str, Any]:
        """The configuration, with those of the parts.

        Returns:
            A dict.
        """
        parts = [keras.saving.serialize_keras_object(part) for part in self._in_order()]
        return {**super().get_config(), "parts": parts, "container": self.container}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> _Parts:
        """Makes the model again.

        Args:
            config: what `get_config` returned.
            custom_objects: classes by name.

        Returns:
            The model, not built.
        """
        parts = [keras.saving.deserialize_keras_object(part, custom_objects) for part in config.pop("parts")]
        return cls(parts, **config)


@keras.saving.register_keras_serializable(PACKAGE)
class OneArgument(_Parts):
    """A model that calls one part after the other."""

    def call(self, inputs: Any) -> Any:
        """Calls the parts.

        Args:
            inputs: what the first part takes.

        Returns:
            What the last part gives.
        """
        return self._chain(inputs)


@keras.saving.register_keras_serializable(PACKAGE)
class TwoArguments(_Parts):
    """A model that calls its parts, one after the other, on each of two arguments."""

    def call(self, left: Any, right: Any) -> Any:
        """Calls the parts on both sides.

        Args:
            left: what the first part takes.
            right: the same.

        Returns:
            The sum of what the last part gives.
        """
        return self._chain(left) + self._chain(right)


@keras.saving.register_keras_serializable(PACKAGE)
class OwnBlocks(keras.Model):
    """A model that makes its layers itself and holds them in a list, a dict and a tuple.

    Args:
        width: size of the last axis.
    """

    def __init__(self, width: int = WIDTH, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.blocks = [keras.layers.Dense(width, activation="tanh") for _ in range(2)]
        self.heads = {"a": keras.layers.Dense(width)}
        self.pair = (keras.layers.Dense(width), 2)

    def call(self, inputs: Any) -> Any:
        """Calls all layers.

        Args:
            inputs: a float tensor.

        Returns:
            A tensor of the same shape.
        """
        for block in self.blocks:
            inputs = block(inputs)
        return self.heads["a"](inputs) + self.pair[0](inputs)

    def get_config(self) -> dict[str, Any]:
        """The configuration, which says nothing of the layers.

        Returns:
            A dict.
        """
        return {**super().get_config(), "width": self.width}


class _Two(keras.Model):
    """A model that calls its two layers one after the other."""

    def call(self, inputs: Any) -> Any:
        """Calls both layers.

        Args:
            inputs: a float tensor.

        Returns:
            A tensor of the same shape.
        """
        return self.second(self.first(inputs))


@keras.saving.register_keras_serializable(PACKAGE)
class OwnByHand(_Two):
    """A model that builds its layers by hand in its constructor."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = keras.layers.Dense(WIDTH, activation="tanh")
        self.second = keras.layers.Dense(WIDTH)
        for layer in (self.first, self.second):
            layer.build((None, WIDTH))


@keras.saving.register_keras_serializable(PACKAGE)
class OwnTied(_Two):
    """A model whose code lets its second layer use the kernel of the first."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = Projection(WIDTH)
        self.second = Projection(WIDTH)

    def build(self, input_shape: Any) -> None:
        """Builds both layers and makes the tie.

        Args:
            input_shape: shape of the input, batch included.
        """
        self.first.build(input_shape)
        self.second.kernel = self.first.kernel
        self.second.build(input_shape)


@keras.saving.register_keras_serializable(PACKAGE)
class OwnFunctional(keras.Model):
    """A subclassed functional model: its constructor makes the graph.

    Args:
        shape: shape of its input, without the batch.
    """

    def __init__(self, shape: Iterable[int], **kwargs: Any) -> None:
        first = keras.layers.Dense(WIDTH, activation="tanh", name="first")
        second = keras.layers.Dense(WIDTH, name="second")
        inputs = keras.Input(tuple(shape))
        super().__init__(inputs, second(first(inputs)), **kwargs)
        self.shape = tuple(shape)
        self.first, self.second = first, second

    def get_config(self) -> dict[str, Any]:
        """The configuration, which says nothing of the graph.

        Returns:
            A dict.
        """
        return {"name": self.name, "trainable": self.trainable, "shape": list(self.shape)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> OwnFunctional:
        """Makes the model again.

        Args:
            config: what `get_config` returned.
            custom_objects: classes by name; none are needed.

        Returns:
            The model.
        """
        return cls(**config)
