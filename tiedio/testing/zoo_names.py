"""Names as odd as Keras admits: of layers, models, variables, optimizers and metrics, all trained."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from tiedio.testing.zoo_base import Case, case, register, share, trained
from tiedio.testing.zoo_places import kernels, stack

layers = keras.layers

NAMES = {
    "that_is_empty": "",
    "of_two_dots": "..",
    "of_two_lines": "two\nlines",
    "with_a_backslash": "back\\slash",
    "like_a_tensor_s": ":0",
    "like_an_escaped_path": "a%2Fb",
    "like_an_escaped_nothing": "%empty",
    "like_the_optimizer_s_mark": "@optimizer",
    "like_an_attribute": ".kernel",
    "like_an_index": "0",
    "that_turns_the_line_around": "\u202ename\x00",
}


@keras.saving.register_keras_serializable(package="tiedio_zoo")
class NamesItsVariables(keras.layers.Layer):
    """A layer with two variables of one name."""

    def __init__(self, called: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.called = called

    def build(self, input_shape: Any) -> None:
        shape = (input_shape[-1], input_shape[-1])
        self.one, self.two = (self.add_weight(shape=shape, name=self.called) for _ in range(2))

    def call(self, inputs: Any) -> Any:
        return keras.ops.matmul(inputs, self.one) + keras.ops.matmul(inputs, self.two)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "called": self.called}


def _named(name: str) -> Case:
    model, x, y = stack(
        layers.Dense(4, name=name), NamesItsVariables(name, name="called"), layers.Dense(4, name="other"), name=name
    )
    share(model.get_layer("other"), "_kernel", model.get_layer(name))
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.name = name
    trained(model, x, y, optimizer=optimizer, metrics=[keras.metrics.MeanAbsoluteError(name=name)])
    return Case(model, x, y, same=kernels(name, "other"))


for _kind, _name in NAMES.items():
    register(f"a_name_{_kind}", partial(_named, _name))


@case
def one_name_in_two_sub_models_for_muon() -> Case:
    def part(name: str) -> Any:
        inputs = keras.Input((4,), name="inputs")
        return keras.Model(inputs, layers.Dense(4, name="dense")(inputs), name=name)

    one, two = part("one"), part("two")
    share(two.get_layer("dense"), "_kernel", one.get_layer("dense"))
    model, x, y = stack(one, two)
    trained(model, x, y, optimizer=keras.optimizers.Muon(0.02, exclude_layers=["two/.*"]))
    return Case(model, x, y, same=lambda m: [[m.get_layer(n).get_layer("dense").kernel for n in ("one", "two")]])
