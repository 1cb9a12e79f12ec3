"""What a user hangs on a model by hand, and what no constructor makes, comes back or is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.errors import ModelError
from tiedio.testing import Arguments, assert_round_trip
from tiedio.testing.zoo_base import floats

layers = keras.layers


def functional() -> Any:
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(4)(layers.Dense(4)(inputs)))


def own(value: float = 1.0) -> Any:
    return keras.Variable(np.full(3, value, "float32"), trainable=False)


def test_variables_in_lists_inside_dicts_come_back(tmp_path: Path) -> None:
    model = functional()
    kernel = model.layers[1].kernel
    model.extra = {"a/b": [own(), {"a": kernel}], "more": {"": own(2)}, "z": [[own(4)]]}
    loaded = assert_round_trip(model, floats(2, 4), folder=tmp_path)
    assert loaded.extra["a/b"][1]["a"] is loaded.layers[1].kernel
    assert (np.array(loaded.extra["z"][0][0]) == 4).all()
    assert (np.array(loaded.extra["more"][""]) == 2).all()
    assert isinstance(loaded.extra["a/b"], list)


@pytest.mark.parametrize(
    "hang",
    [
        lambda kernel: (kernel,),
        lambda kernel: {3: kernel},
        lambda kernel: {"kernel": kernel, "number": 3},
        lambda kernel: [kernel, "text"],
        lambda kernel: {"b": own(), "a": kernel},
    ],
    ids=[
        "a tuple",
        "a key that is a number",
        "a number beside it",
        "a text beside it",
        "keys in an order of their own",
    ],
)
def test_what_cannot_be_made_again_from_its_variables_is_refused(hang: Any, tmp_path: Path) -> None:
    model = functional()
    model.extra = hang(model.layers[1].kernel)
    with pytest.raises(ModelError) as caught:
        tiedio.save(model, tmp_path / "model.safetensors")
    assert "extra" in str(caught.value.path)
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable("tests.hung")
class NotedFunctional(keras.Model):
    def __init__(self, units: int, name: str | None = None) -> None:
        inputs = keras.Input((units,))
        super().__init__(inputs, layers.Dense(units)(inputs), name=name)


@keras.saving.register_keras_serializable("tests.hung")
class NotedSequential(keras.Sequential):
    def __init__(self, units: int, name: str | None = None) -> None:
        super().__init__([keras.Input((units,)), layers.Dense(units)], name=name)


@keras.saving.register_keras_serializable("tests.hung")
class WithDefault(keras.Model):
    """Keras 3.15.1 notes the default of an argument in place of what was given."""

    def __init__(self, rate: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop, self.dense = layers.Dropout(rate, seed=1), layers.Dense(4)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.dense(self.drop(inputs, training=training))


@pytest.mark.parametrize("cls", [NotedFunctional, NotedSequential])
def test_constructor_arguments_that_keras_does_not_note_need_a_get_config(cls: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="get_config") as caught:
        tiedio.save(cls(4), tmp_path / "model.safetensors")
    assert cls.__name__ in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_default_that_keras_notes_in_place_of_the_argument_does_no_harm(tmp_path: Path) -> None:
    model = WithDefault(0.25)
    model(floats(2, 4))
    assert assert_round_trip(model, floats(2, 4), folder=tmp_path).drop.rate == 0.25


def test_a_layer_that_takes_the_place_of_a_wrappers_copy_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((3, 4))
    rnn = layers.SimpleRNN(4, return_sequences=True, name="rnn")
    both = layers.Bidirectional(layers.SimpleRNN(4, return_sequences=True, name="rnn"), merge_mode="sum", name="both")
    both.forward_layer = rnn  # the copy stays in Keras's own list of layers, and is trained no more
    model = keras.Model(inputs, [rnn(inputs), both(inputs)])
    with pytest.raises(ModelError, match="both") as caught:
        tiedio.save(model, tmp_path / "model.safetensors")
    assert "both" in str(caught.value.path)
    assert not list(tmp_path.iterdir())


@keras.saving.register_keras_serializable("tests.hung")
class Grown(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks: Any = []
        self.extra: Any = []
        self.named: Any = {}

    def call(self, inputs: Any, scale: Any) -> Any:
        for block in self.blocks:
            inputs = block(inputs) + self.extra[0] * scale
        return self.named["last"](inputs)


def test_a_model_of_two_arguments_that_grew_by_hand_comes_back_as_one(tmp_path: Path) -> None:
    model = Grown()
    block = layers.Dense(4)
    model.blocks.append(block)
    model.blocks.append(layers.Dense(4, activation="tanh"))
    model.blocks.append(block)
    model.extra.append(keras.Variable(np.ones(4, "float32")))
    model.named["last"] = keras.Sequential([layers.Dense(4), block])
    model(floats(2, 4), floats(2, 4))
    loaded = assert_round_trip(model, Arguments((floats(2, 4), floats(2, 4))), folder=tmp_path)
    assert loaded.blocks[0] is loaded.blocks[2] is loaded.named["last"].layers[-1]
    assert loaded.blocks[0] is not loaded.blocks[1]
