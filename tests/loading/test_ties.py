"""`ties="match"`, `"restore"` and `"model"`: whose ties the model has after loading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.errors import MismatchError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def kernels(model: Any) -> tuple[bytes, bytes]:
    return np.array(model.first.kernel).tobytes(), np.array(model.second.kernel).tobytes()


@pytest.mark.parametrize("file_is_tied", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_match_refuses_a_model_with_other_ties(path: Path, tools: Any, file_is_tied: bool, strict: bool) -> None:
    tiedio.save_weights(tools.net(tied=file_is_tied, optimizer=None), path)
    model = tools.net(seed=1, tied=not file_is_tied)
    before = tools.picture(model)
    with pytest.raises(MismatchError) as caught:
        tiedio.load_weights(model, path, strict=strict)
    assert "first/kernel and second/kernel" in str(caught.value.found)
    assert "ties='restore'" in str(caught.value.remedy)
    assert tools.picture(model) == before


@pytest.mark.parametrize("file_is_tied", [True, False])
def test_restore_gives_an_untrained_model_the_file_s_ties(path: Path, tools: Any, file_is_tied: bool) -> None:
    model = tools.net(tied=file_is_tied, steps=2)
    tiedio.save_weights(model, path)
    fresh = tools.net(seed=1, tied=not file_is_tied)
    report = tiedio.load_weights(fresh, path, ties="restore")
    assert report.complete
    assert report.tied == ("second/kernel",)
    assert (fresh.second.kernel is fresh.first.kernel) == file_is_tied
    assert [tie.slots for tie in tiedio.find_ties(fresh)] == [tie.slots for tie in tiedio.find_ties(model)]
    assert [w.shape for w in fresh.get_weights()] == [w.shape for w in model.get_weights()]
    assert tools.step(fresh) == tools.step(model)
    tiedio.save_weights(fresh, path)
    third = tools.net(seed=2, tied=file_is_tied)
    assert tiedio.load_weights(third, path).complete
    assert tools.step(third) == tools.step(model)


@pytest.mark.parametrize(("file_is_tied", "traced"), [(True, True), (True, False), (False, False)])
def test_restore_in_a_trained_model_resets_functions_and_optimizer(
    path: Path, tools: Any, file_is_tied: bool, traced: bool
) -> None:
    kind = "adam" if traced else "adagrad"
    model = tools.net(tied=file_is_tied, steps=2, optimizer=kind, traced=traced)
    tiedio.save_weights(model, path)
    other = tools.net(seed=1, tied=not file_is_tied, steps=2, optimizer=kind, traced=traced)
    other.evaluate(tools.x, tools.y, verbose=0)
    other.predict(tools.x, verbose=0)
    optimizer = other.optimizer
    tiedio.load_weights(other, path, ties="restore")
    assert other.optimizer is optimizer
    assert (other.second.kernel is other.first.kernel) == file_is_tied
    trained = {id(v) for v in optimizer._trainable_variables}
    assert trained == {id(v) for v in other.trainable_variables}
    assert len(optimizer.variables) == len(model.optimizer.variables)
    assert other.predict(tools.x, verbose=0).tobytes() == model.predict(tools.x, verbose=0).tobytes()
    assert tools.step(other) == tools.step(model)


def test_restore_keeps_a_schedule_and_what_is_excluded_from_weight_decay(path: Path, tools: Any) -> None:
    def optimizer(model: Any) -> Any:
        schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
        made = keras.optimizers.AdamW(schedule, weight_decay=0.1)
        made.exclude_from_weight_decay(var_list=[model.second.kernel, model.first.bias])
        model.compile(made, "mse", run_eagerly=True)
        return model

    model = optimizer(tools.net(optimizer=None))
    tools.step(model)
    tiedio.save_weights(model, path)
    other = optimizer(tools.net(seed=1, tied=False, optimizer=None))
    tools.step(other)
    schedule = other.optimizer._learning_rate
    tiedio.load_weights(other, path, ties="restore")
    assert other.optimizer._learning_rate is schedule
    assert tools.step(other) == tools.step(model)


@pytest.mark.parametrize("reason", ["none in the file", "not wanted", "of another class"])
def test_restore_refuses_an_optimizer_that_it_cannot_migrate(path: Path, tools: Any, reason: str) -> None:
    saved = tools.net(optimizer="sgd" if reason == "of another class" else "adam", steps=1)
    tiedio.save_weights(saved, path, optimizer=reason != "none in the file")
    model = tools.net(seed=1, tied=False, steps=1)
    before = tools.picture(model)
    with pytest.raises(MismatchError, match="before compiling"):
        tiedio.load_weights(model, path, ties="restore", optimizer=reason != "not wanted", strict=False)
    assert tools.picture(model) == before


def test_restore_takes_the_trainable_flag_of_the_tie(path: Path, tools: Any) -> None:
    model = tools.net(optimizer=None)
    model.second.trainable = False  # freezes the shared kernel
    tiedio.save_weights(model, path)
    fresh = tools.net(seed=1, tied=False, optimizer=None)
    report = tiedio.load_weights(fresh, path, ties="restore")
    assert not fresh.first.kernel.trainable
    assert fresh.second.bias.trainable
    assert report.trainable == ("second/bias",)


def test_restore_keeps_the_order_of_each_layer_s_weights(path: Path) -> None:
    class Three(keras.layers.Layer):
        def __init__(self, tied: bool, **options: Any) -> None:
            super().__init__(**options)
            self.a, self.b, self.c = (self.add_weight((2,), name=name) for name in "abc")
            if tied:
                stale, self.b = self.b, self.c
                self._trainable_variables[:] = [v for v in self._trainable_variables if v is not stale]

        def call(self, x: Any) -> Any:
            return x + self.a * self.b + self.c

    def build(tied: bool) -> Any:
        return keras.Sequential([keras.Input((2,)), Three(tied, name="three")])

    for tied in (True, False):
        tiedio.save_weights(build(tied), path)
        fresh = build(not tied)
        tiedio.load_weights(fresh, path, ties="restore")
        layer = fresh.layers[0]
        assert (layer.b is layer.c) == tied
        expected = [layer.a, layer.c] if tied else [layer.a, layer.b, layer.c]
        assert [id(v) for v in layer.trainable_variables] == [id(v) for v in expected]


def test_restore_makes_the_attribute_that_the_user_had_set(path: Path, tools: Any) -> None:
    def build(extra: bool) -> Any:
        model = tools.net(optimizer=None)
        if extra:
            model.first._tracker.unlock()
            model.first.kept = model.second.bias
            model.first._tracker.lock()
        return model

    model = build(extra=True)
    tiedio.save_weights(model, path)
    fresh = build(extra=False)
    before = tools.picture(fresh)
    with pytest.raises(MismatchError, match="first/kept"):
        tiedio.load_weights(fresh, path)
    assert tools.picture(fresh) == before
    report = tiedio.load_weights(fresh, path, ties="restore")
    assert report.tied == ("first/kept",)
    assert fresh.first.kept is fresh.second.bias
    assert tools.values(fresh) == tools.values(model)


def test_restore_ties_a_variable_that_an_operation_of_a_graph_takes(path: Path) -> None:
    def build(tied: bool) -> Any:
        inputs = keras.Input((3,))
        layer = keras.layers.Dense(3, use_bias=False, name="dense")
        hidden = layer(inputs)
        matrix = layer.kernel if tied else keras.Variable(np.ones((3, 3), "float32"))
        return keras.Model(inputs, keras.ops.matmul(hidden, matrix))

    model, fresh = build(tied=True), build(tied=False)
    tiedio.save_weights(model, path)
    tiedio.load_weights(fresh, path, ties="restore")
    (operation,) = [one for one in fresh.operations if type(one).__name__ == "Matmul"]
    assert operation._inbound_nodes[0].arguments.args[1] is fresh.get_layer("dense").kernel
    x = np.ones((2, 3), "float32")
    assert np.array(fresh(x)).tobytes() == np.array(model(x)).tobytes()


def test_model_gives_each_of_several_slots_a_copy(path: Path, tools: Any) -> None:
    model = tools.net(steps=1)
    tiedio.save_weights(model, path)
    other = tools.net(seed=1, tied=False)
    report = tiedio.load_weights(other, path, ties="model")
    assert report.complete
    assert other.first.kernel is not other.second.kernel
    assert kernels(other) == kernels(model)
    momentum = [np.array(v).tobytes() for v in other.optimizer._momentums]
    position = {id(v): i for i, v in enumerate(other.optimizer._trainable_variables)}
    assert momentum[position[id(other.first.kernel)]] == momentum[position[id(other.second.kernel)]]


def test_model_keeps_a_tie_where_the_values_agree_bit_for_bit(path: Path, tools: Any) -> None:
    untied = tools.net(tied=False, optimizer=None)
    model = tools.net(seed=1, optimizer=None)
    tiedio.save_weights(untied, path)
    before = tools.picture(model)
    with pytest.raises(MismatchError, match="bit for bit"):
        tiedio.load_weights(model, path, ties="model")
    assert tools.picture(model) == before
    report = tiedio.load_weights(model, path, ties="model", strict=False)
    assert [one.path for one in report.mismatched] == ["first/kernel"]
    untied.second.kernel.assign(untied.first.kernel)
    tiedio.save_weights(untied, path)
    assert tiedio.load_weights(model, path, ties="model").complete
    assert model.first.kernel is model.second.kernel
    assert kernels(model) == kernels(untied)


def test_a_failure_after_the_ties_were_restored_unties_them(
    path: Path, tools: Any, fails: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for tied in (True, False):
        tiedio.save_weights(tools.net(tied=tied, steps=1), path)
        model = tools.net(seed=1, tied=not tied, steps=1)
        model.predict(tools.x, verbose=0)
        before, functions = tools.picture(model), (model.train_function, model.predict_function)
        monkeypatch.setattr("tiedio.values.fill", fails(tiedio.load_weights, RuntimeError("disk"), 0))
        with pytest.raises(RuntimeError, match="disk"):
            tiedio.load_weights(model, path, ties="restore")
        monkeypatch.undo()
        assert (model.train_function, model.predict_function) == functions
        assert tools.picture(model) == before
        twin = tools.net(seed=1, tied=not tied, steps=1)
        assert tools.step(model) == tools.step(twin)
