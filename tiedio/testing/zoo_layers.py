"""The custom layers and models of the zoo, each a habit of real code."""

from __future__ import annotations

from typing import Any

import keras

_register = keras.saving.register_keras_serializable(package="tiedio_zoo")


class _Refers(keras.layers.Layer):
    """A layer that holds another layer and serializes it."""

    def __init__(self, source: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.supports_masking = True

    def get_config(self) -> Any:
        return super().get_config() | {"source": keras.saving.serialize_keras_object(self.source)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(keras.saving.deserialize_keras_object(config.pop("source")), **config)


@_register
class TransposedDense(_Refers):
    """A dense layer whose matrix is always the transpose of another dense layer's."""

    def build(self, input_shape: Any) -> None:
        self.bias = self.add_weight(shape=(self.source.kernel.shape[0],), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, keras.ops.transpose(self.source.kernel)) + self.bias


@_register
class TiedLogits(_Refers):
    """The output layer of a language model: logits from the embedding matrix."""

    def build(self, input_shape: Any) -> None:
        self.bias = self.add_weight(shape=(self.source.input_dim,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, keras.ops.transpose(self.source.embeddings)) + self.bias


@_register
class Calls(_Refers):
    """Calls the layer that it refers to, and adds a bias of its own."""

    def build(self, input_shape: Any) -> None:
        if not self.source.built:
            self.source.build(input_shape)
        self.shift = self.add_weight(
            shape=(self.source.compute_output_shape(input_shape)[-1],), name="shift", initializer="zeros"
        )

    def call(self, inputs: Any) -> Any:
        return self.source(inputs) + self.shift

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.source.compute_output_shape(input_shape)


@_register
class CallsEach(keras.layers.Layer):
    """Holds layers in a list and in a dict, and adds up what they give."""

    def __init__(self, listed: list[Any], named: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.listed = list(listed)
        self.named = dict(named)

    def build(self, input_shape: Any) -> None:
        for layer in [*self.listed, *self.named.values()]:
            if not layer.built:
                layer.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return sum(layer(inputs) for layer in [*self.listed, *self.named.values()])

    def get_config(self) -> Any:
        write = keras.saving.serialize_keras_object
        return super().get_config() | {
            "listed": [write(layer) for layer in self.listed],
            "named": {name: write(layer) for name, layer in self.named.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        read = keras.saving.deserialize_keras_object
        listed = [read(one) for one in config.pop("listed")]
        return cls(listed, {name: read(one) for name, one in config.pop("named").items()}, **config)


@_register
class Holder(keras.layers.Layer):
    """One square matrix in attributes, a list, a tuple, a dict and a nest of them, by its own code.

    `plain` holds a second matrix in the same kinds of places, so that not everything in a place is shared.
    """

    def __init__(self, keys: tuple[str, ...] = ("left", "right"), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keys = tuple(keys)

    def build(self, input_shape: Any) -> None:
        shape = (input_shape[-1], input_shape[-1])
        one = self.add_weight(shape=shape, name="one")
        other = self.add_weight(shape=shape, name="other")
        self.first = self.second = one
        self.plain = other
        self.listed = [one, other, one]
        self.paired = (other, one)
        self.named = {self.keys[0]: one, self.keys[1]: other, "third": one}
        self.nested = {"blocks": [one, {"deep": (other, [one])}]}

    def call(self, inputs: Any) -> Any:
        deep = self.nested["blocks"][1]["deep"]
        for matrix in (
            self.first,
            self.second,
            *self.listed,
            *self.paired,
            *self.named.values(),
            deep[0],
            deep[1][0],
        ):
            inputs = keras.ops.tanh(keras.ops.matmul(inputs, matrix))
        return inputs

    def get_config(self) -> Any:
        return super().get_config() | {"keys": list(self.keys)}


@_register
class Blocks(keras.layers.Layer):
    """A list of matrices, all different by its own code."""

    def __init__(self, count: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.count = count

    def build(self, input_shape: Any) -> None:
        shape = (input_shape[-1], input_shape[-1])
        self.kernels = [self.add_weight(shape=shape, name=f"kernel_{i}") for i in range(self.count)]
        self.by_name = {"gate": self.add_weight(shape=shape, name="gate")}

    def call(self, inputs: Any) -> Any:
        for kernel in [*self.kernels, self.by_name["gate"]]:
            inputs = keras.ops.tanh(keras.ops.matmul(inputs, kernel))
        return inputs

    def get_config(self) -> Any:
        return super().get_config() | {"count": self.count}


@_register
class TiesInBuild(keras.layers.Layer):
    """Two dense layers of its own, the second with the first's kernel, tied by its `build`."""

    def __init__(self, units: int = 4, tied: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.tied = units, tied
        self.first = keras.layers.Dense(units, name="first")
        self.second = keras.layers.Dense(units, name="second")

    def build(self, input_shape: Any) -> None:
        self.first.build(input_shape)
        self.second.build(input_shape)
        if self.tied:
            from tiedio.testing.zoo_base import share

            share(self.second, "_kernel", self.first)

    def call(self, inputs: Any) -> Any:
        return keras.ops.tanh(self.first(inputs)) - self.second(inputs)

    def get_config(self) -> Any:
        return super().get_config() | {"units": self.units, "tied": self.tied}


@_register
class TiesInConstructor(keras.layers.Layer):
    """One variable made in the constructor and held twice."""

    def __init__(self, width: int = 4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.scale = self.add_weight(shape=(width,), initializer="ones", name="scale")
        self.also_scale = self.scale

    def call(self, inputs: Any) -> Any:
        return inputs * self.scale + self.also_scale

    def get_config(self) -> Any:
        return super().get_config() | {"width": self.width}


@_register
class Noisy(keras.layers.Layer):
    """Two dropouts of its own that draw from one seed generator."""

    def __init__(self, rate: float = 0.4, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.generator = self.same_generator = keras.random.SeedGenerator(7)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        once = keras.random.dropout(inputs, self.rate, seed=self.generator)
        return once + keras.random.dropout(inputs, self.rate, seed=self.same_generator)

    def get_config(self) -> Any:
        return super().get_config() | {"rate": self.rate}


@_register
class MixedFlags(keras.layers.Layer):
    """Weights that differ in every attribute a variable has, in an order of no system."""

    def build(self, input_shape: Any) -> None:
        width = (input_shape[-1],)
        self.counter = self.add_weight(shape=(), dtype="int32", trainable=False, initializer="zeros", name="counter")
        self.plain = self.add_weight(shape=width, initializer="ones", name="plain")
        self.frozen = self.add_weight(shape=width, trainable=False, initializer="ones", name="frozen")
        self.exact = self.add_weight(shape=width, autocast=False, initializer="ones", name="exact")
        self.kept_small = self.add_weight(
            shape=width,
            regularizer=keras.regularizers.L1(0.1),
            constraint="non_neg",
            initializer="ones",
            name="plain",
        )

    def call(self, inputs: Any) -> Any:
        self.counter.assign(self.counter + 1)
        return inputs * self.plain + self.frozen * self.exact - self.kept_small


@_register
class OddNames(keras.layers.Layer):
    """Variables whose names collide, are empty, or look like something else."""

    def build(self, input_shape: Any) -> None:
        names = (
            "kernel",
            "kernel",
            "",
            "..",
            "a:0",
            "back\\slash",
            "new\nline",
            "@optimizer",
            "0",
            "%2F",
            "~1",
        )
        self.odd = [self.add_weight(shape=(input_shape[-1],), initializer="ones", name=name) for name in names]
        self.again = {
            "0": self.odd[0],
            "a.b": self.odd[1],
            "": self.odd[2],
            "a/b": self.odd[3],
            "[0]": self.odd[4],
        }

    def call(self, inputs: Any) -> Any:
        for weight in (*self.odd, *self.again.values()):
            inputs = inputs * 0.5 + weight
        return inputs


@_register
class HyperConv(keras.layers.Layer):
    """A convolution that is called with its kernel and its bias."""

    def call(self, inputs: Any, kernel: Any, bias: Any) -> Any:
        return keras.ops.conv(inputs, kernel, padding="same") + bias


@_register
class Scaled(keras.layers.Layer):
    """Multiplies by what it is called with."""

    def call(self, inputs: Any, by: Any) -> Any:
        return inputs * by


@_register
class MadeInBuild(keras.layers.Layer):
    """Makes its children when it is built."""

    def build(self, input_shape: Any) -> None:
        self.children = [keras.layers.Dense(input_shape[-1], name=f"child_{index}") for index in range(2)]
        for child in self.children:
            child.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return self.children[1](keras.ops.tanh(self.children[0](inputs)))


@_register
class NoBuild(keras.layers.Layer):
    """Leaves building its children to the first call."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(4, activation="tanh", name="inner")
        self.outer = keras.layers.Dense(4, name="outer")

    def call(self, inputs: Any) -> Any:
        return self.outer(self.inner(inputs))


class AsksNothing(keras.layers.Layer):
    """A layer whose class is not registered."""

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return keras.ops.tanh(inputs * self.scale)
