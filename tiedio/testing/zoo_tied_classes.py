"""Zoo: classes and `tiedio.tie`: their own code makes a tie, or something else was done to the living model."""

from __future__ import annotations

from typing import Any

import keras

import tiedio
from tiedio.testing.zoo_base import Case, Groups, case, floats, trained
from tiedio.testing.zoo_places import stack
from tiedio.testing.zoo_tied import KERNEL, transposed

layers = keras.layers
_register = keras.saving.register_keras_serializable("tiedio.zoo.tied")

X, Y = floats(5, 4), floats(5, 4, seed=1)


@_register
class Autoencoder(keras.layers.Layer):
    """Two dense layers of its own, the second's kernel the transpose of the first's: `build` makes the tie."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder = layers.Dense(3, name="encoder"), layers.Dense(4, name="decoder")

    def build(self, input_shape: Any) -> None:
        self.encoder.build(input_shape)
        self.decoder.build((None, 3))
        self.tie()

    def tie(self) -> None:
        """What `build` does last."""
        transposed(self.decoder, self.encoder)

    def call(self, inputs: Any) -> Any:
        return self.decoder(keras.ops.tanh(self.encoder(inputs)))


@_register
class Twins(Autoencoder):
    """One variable instead of a view."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder = (layers.Dense(4, name=name) for name in ("encoder", "decoder"))

    def build(self, input_shape: Any) -> None:
        self.encoder.build(input_shape)
        self.decoder.build(input_shape)
        self.tie()

    def tie(self) -> None:
        tiedio.tie(self.decoder, self.encoder)


@_register
class Untied(Autoencoder):
    """The same without a tie."""

    def tie(self) -> None:
        pass


@_register
class TiesWhenMade(keras.Model):
    """A model that builds and ties its layers in its constructor."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder = layers.Dense(3, activation="tanh"), layers.Dense(4)
        self.encoder.build((None, 4))
        self.decoder.build((None, 3))
        transposed(self.decoder, self.encoder)

    def call(self, inputs: Any) -> Any:
        return self.decoder(self.encoder(inputs))


@_register
class Plain(keras.Model):
    """A model whose code makes no tie."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.encoder, self.decoder = layers.Dense(3, activation="tanh"), layers.Dense(4)

    def call(self, inputs: Any) -> Any:
        return self.decoder(self.encoder(inputs))


def _of_source(m: Any) -> Groups:
    return [[m.encoder.kernel, m.decoder.kernel.source]]


def _apart(m: Any) -> Groups:
    return [[m.encoder.kernel, m.decoder.kernel], [m.encoder.kernel, getattr(m.decoder.kernel, "source", None)]]


@case
def a_view_in_a_subclassed_model_whose_code_makes_none() -> Case:
    model = Plain()
    model(X)
    transposed(model.decoder, model.encoder)
    trained(model, X, Y)
    return Case(model, X, Y, same=_of_source)


@case
def a_view_made_by_the_constructor_of_a_model() -> Case:
    return Case(trained(TiesWhenMade(), X, Y), X, Y, same=_of_source)


@case
def a_view_made_by_the_constructor_of_a_model_and_untied() -> Case:
    model = trained(TiesWhenMade(), X, Y)
    tiedio.untie(model.decoder)
    model.train_on_batch(X, Y)
    return Case(model, X, Y, apart=_apart)


@case
def a_view_made_by_the_constructor_of_a_model_and_tied_another_way() -> Case:
    model = trained(TiesWhenMade(), X, Y)
    tiedio.untie(model.decoder)
    transposed(model.encoder, model.decoder)  # the other way around
    model.train_on_batch(X, Y)
    return Case(model, X, Y, same=lambda m: [[m.decoder.kernel, m.encoder.kernel.source]])


@case
def a_view_made_by_the_build_of_a_layer() -> Case:
    model, x, y = stack(Autoencoder(name="tied"), layers.Dense(4, name="dense"))
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: _of_source(m.get_layer("tied")))


@case
def a_view_made_by_the_build_of_a_layer_and_untied() -> Case:
    model, x, y = stack(Autoencoder(name="tied"), layers.Dense(4, name="dense"))
    tiedio.untie(model.get_layer("tied").decoder)
    trained(model, x, y)
    return Case(model, x, y, apart=lambda m: _apart(m.get_layer("tied")))


@case
def a_view_in_a_layer_whose_build_makes_none() -> Case:
    model, x, y = stack(Untied(name="plain"), layers.Dense(4, name="dense"))
    transposed(model.get_layer("plain").decoder, model.get_layer("plain").encoder)
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: _of_source(m.get_layer("plain")))


@case
def a_tie_made_by_the_build_of_a_layer() -> Case:
    model, x, y = stack(Twins(name="tied"), layers.Dense(4, name="dense"))
    trained(model, x, y)

    def same(m: Any) -> Groups:
        tied = m.get_layer("tied")
        return [[tied.encoder.kernel, tied.decoder.kernel], [tied.encoder.bias, tied.decoder.bias]]

    return Case(model, x, y, same=same)


@case
def a_tie_made_by_the_build_of_a_layer_and_a_view_across_layers() -> Case:
    model, x, y = stack(Twins(name="tied"), layers.Dense(4, name="dense"))
    transposed(model.get_layer("dense"), model.get_layer("tied").decoder)
    trained(model, x, y)

    def same(m: Any) -> Groups:
        tied = m.get_layer("tied")
        return [[tied.encoder.kernel, tied.decoder.kernel, m.get_layer("dense").kernel.source]]

    return Case(model, x, y, same=same)


@case
def a_tie_made_by_the_build_of_a_layer_became_a_view() -> Case:
    model, x, y = stack(Twins(name="tied"), layers.Dense(4, name="dense"))
    tied = model.get_layer("tied")
    tiedio.untie(tied.decoder)
    tiedio.tie(tied.decoder, tied.encoder, weights=KERNEL, view=tiedio.transpose())
    trained(model, x, y)
    return Case(model, x, y, same=lambda m: _of_source(m.get_layer("tied")))
