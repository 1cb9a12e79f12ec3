"""The oracle by itself: inputs and targets that it makes, what it says when it has none, and the shorter check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tiedio
from tiedio.testing import assert_round_trip, data, oracle
from tiedio.testing.zoo_base import floats, share, trained

if TYPE_CHECKING:
    from .conftest import Twins

layers = keras.layers
X, Y = floats(5, 4), floats(5, 4, seed=1)


def build() -> Any:
    """A small model with a tied kernel and a seed."""
    inputs = keras.Input((4,), name="inputs")
    one, two = (layers.Dense(4, activation="tanh", name=name) for name in ("one", "two"))
    drop = layers.Dropout(0.5, seed=3, name="drop")
    model = keras.Model(inputs, two(drop(one(inputs))), name="model")
    share(two, "_kernel", one)
    return trained(model, X, Y)


def _change_what_a_layer_does(m: Any) -> None:
    m.get_layer("two").activation = keras.activations.relu


def _change_what_a_layer_does_in_training(m: Any) -> None:
    m.get_layer("drop").rate = 0.25


def _change_one_bit(m: Any) -> None:
    value = np.array(m.get_layer("one").kernel)
    value.reshape(-1).view("uint32")[5] ^= 1
    m.get_layer("one").kernel.assign(value)


def _date_the_file(path: Path) -> None:
    save_file(load_file(path), path, metadata={"saved": path.name})


def test_inputs_and_targets_are_made_where_none_are_given(twins: Twins) -> None:
    twins.build, twins.tamper = build, _change_what_a_layer_does
    keras.utils.clear_session(free_memory=False)
    with pytest.raises(AssertionError, match="outputs: the loaded model gives another result"):
        assert_round_trip(build())
    twins.loads, twins.tamper = 0, _change_what_a_layer_does_in_training
    keras.utils.clear_session(free_memory=False)
    with pytest.raises(AssertionError, match="next step: the loaded model gives another result"):
        assert_round_trip(build())


def test_a_fault_in_the_second_round_trip_names_it(twins: Twins) -> None:
    twins.build, twins.tamper, twins.tampered_load = build, _change_one_bit, 2
    keras.utils.clear_session(free_memory=False)
    with pytest.raises(AssertionError, match=r"^second round trip: values, after the second load"):
        assert_round_trip(build())


def test_without_a_second_round_trip_the_file_of_the_loaded_model_is_still_compared(
    twins: Twins, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins.build = build

    def save(model: Any, path: Path, check: bool = True) -> None:
        twins.save(model, path)
        if not check:
            _date_the_file(path)

    monkeypatch.setitem(vars(tiedio), "save", save)
    keras.utils.clear_session(free_memory=False)
    with pytest.raises(AssertionError, match="file bytes: saving the loaded model gives another file"):
        assert_round_trip(build(), second=False)
    assert twins.loads == 1


class Silent(keras.Model):
    """A model that was built by hand and does not say what it takes."""

    def __init__(self) -> None:
        super().__init__(name="silent")
        self.dense = layers.Dense(2, name="dense")
        self.dense.build((None, 4))
        self.built = True

    def call(self, first: Any, second: Any) -> Any:
        return self.dense(first) + second


def test_what_was_not_compared_is_told(twins: Twins) -> None:
    twins.build = Silent
    keras.utils.clear_session(free_memory=False)
    with pytest.warns(UserWarning, match=r"outputs and next step were not compared.*pass inputs="):
        assert_round_trip(Silent())


def test_a_model_that_says_little_is_still_compared_by_its_variables(twins: Twins) -> None:
    twins.build, twins.tamper = Silent, lambda m: m.dense.kernel.assign(m.dense.kernel + 1)
    keras.utils.clear_session(free_memory=False)
    with pytest.raises(AssertionError, match="values, after the first load"):
        assert_round_trip(Silent())


def test_a_step_without_targets_that_fit_is_told(twins: Twins) -> None:
    def odd_loss(y_true: Any, y_pred: Any) -> Any:
        raise ValueError("it takes nothing")

    def with_odd_loss() -> Any:
        model = build()
        model.compile(optimizer=model.optimizer, loss=odd_loss, run_eagerly=True)
        return model

    twins.build = with_odd_loss
    keras.utils.clear_session(free_memory=False)
    with pytest.warns(UserWarning, match=r"next step of 'model' was not compared.*it takes nothing.*pass targets="):
        assert_round_trip(with_odd_loss())


@pytest.mark.parametrize(
    ("loss", "last"),
    [("mse", layers.Dense(3)), ("sparse_categorical_crossentropy", layers.Dense(3, activation="softmax"))],
    ids=["numbers", "classes"],
)
def test_made_targets_fit_the_loss(loss: str, last: Any) -> None:
    model = keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(4, 3), last])
    model.compile("adam", loss)
    before = [value.tobytes() for value in model.get_weights()]
    loaded = assert_round_trip(model)
    assert [value.tobytes() for value in model.get_weights()] == before
    assert [value.tobytes() for value in loaded.get_weights()] != before


def test_inputs_of_a_subclassed_model_are_made_from_the_shapes_it_was_built_for() -> None:
    model = keras.Sequential([layers.Dense(2), layers.Dense(1)])
    model(floats(5, 4))
    assert_round_trip(model)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_layer_that_counts_its_draws_outside_training_too_is_no_fault(compiled: bool, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3, 4)), layers.LSTM(4, dropout=0.5, seed=5)])
    if compiled:
        model.compile("sgd", "mse")
    (state,) = (v for v in model.variables if v.path.endswith("seed_generator_state"))
    assert_round_trip(model, folder=tmp_path)
    assert np.array_equal(state.value, [5, 0]), "and it is put back"


def test_a_step_that_was_traced_for_other_batches_is_traced_anew_and_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    for rows in (5, 7):  # from the second on, for any number of rows: on several threads that rounds otherwise
        model.train_on_batch(np.ones((rows, 3)), np.ones((rows, 1)))
    before, begun = model.train_function, []

    def step(one: Any, *given: Any) -> Any:
        begun.append((one is model, one.train_function))
        return data.step(one, *given)

    monkeypatch.setattr(oracle, "step", step)
    assert_round_trip(model, folder=tmp_path, second=False)
    assert begun == [(True, None), (False, None)]
    assert model.train_function is before
