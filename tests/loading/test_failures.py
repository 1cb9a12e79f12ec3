"""Nothing is ever half loaded: after any error the model and its optimizer are what they were, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import values
from tiedio.errors import MismatchError, RebuildError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.safetensors"


def test_a_failure_before_the_first_assignment(
    path: Path, tools: Any, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., Any]
) -> None:
    tiedio.save_weights(tools.net(steps=1), path)
    model = tools.net(seed=1, steps=1)
    before = tools.picture(model)
    read = tiedio.container.single.Reader.bytes_of
    assigned: list[Any] = []
    monkeypatch.setattr("tiedio.values.fill", lambda *args: assigned.append(args))
    monkeypatch.setattr("tiedio.container.single.Reader.bytes_of", fails(read, OSError("gone"), 5))
    with pytest.raises(OSError, match="gone"):
        tiedio.load_weights(model, path, mmap=False)
    assert not assigned
    assert tools.picture(model) == before


@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [1, 9, 20])
def test_a_failure_during_assignment(
    path: Path,
    tools: Any,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., Any],
    error: BaseException,
    after: int,
) -> None:
    tiedio.save_weights(tools.net(steps=1), path)
    model = tools.net(seed=1, steps=1)
    before = tools.picture(model)
    monkeypatch.setattr("tiedio.values.fill", fails(values.fill, error, after))
    with pytest.raises(type(error)):
        tiedio.load_weights(model, path)
    monkeypatch.undo()
    assert tools.picture(model) == before
    if after == 20:
        assert tools.step(model) == tools.step(tools.net(seed=1, steps=1))
        assert tiedio.load_weights(model, path).complete


def test_an_optimizer_that_was_built_for_the_loading_is_unbuilt_again(
    path: Path, tools: Any, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., Any]
) -> None:
    tiedio.save_weights(tools.net(steps=1), path)
    model = tools.net(seed=1)
    before = tools.picture(model)
    monkeypatch.setattr("tiedio.values.fill", fails(values.fill, RuntimeError("disk"), 3))
    with pytest.raises(RuntimeError):
        tiedio.load_weights(model, path)
    monkeypatch.undo()
    assert not model.optimizer.built
    assert tools.picture(model) == before
    assert tools.step(model) == tools.step(tools.net(seed=1))


def test_an_optimizer_that_was_unbuilt_for_the_loading_is_built_again(
    path: Path, tools: Any, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., Any]
) -> None:
    tiedio.save_weights(tools.net(), path)
    model = tools.net(seed=1, steps=1)
    before, function = tools.picture(model), model.train_function
    monkeypatch.setattr("tiedio.values.fill", fails(values.fill, RuntimeError("disk"), 3))
    with pytest.raises(RuntimeError):
        tiedio.load_weights(model, path)
    monkeypatch.undo()
    assert model.optimizer.built
    assert model.train_function is function
    assert tools.picture(model) == before


# --- hooks, which run after assignment --------------------------------------------------------------


class Counting(keras.layers.Layer):
    """Keeps a number and a list beside its variables, and stores the number by its own hooks."""

    fault = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.count, self.seen = 0, ["nothing"]

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight((shape[-1],), name="scale")

    def call(self, x: Any) -> Any:
        return x * self.scale

    def save_own_variables(self, store: Any) -> None:
        store["scale"] = self.scale
        store["count"] = np.array(self.count)

    def load_own_variables(self, store: Any) -> None:
        self.count = int(store["count"])
        self.seen.append("loaded")
        self.extra = 1
        if self.fault == "raises":
            raise ValueError("no")
        if self.fault == "other value":
            self.scale.assign(self.scale + 1)
        if self.fault == "other value in place":
            self.scale.assign_add(keras.ops.ones(self.scale.shape))


def counting(count: int) -> Any:
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(3, name="dense"), Counting(name="counting")], name="model"
    )
    model.get_layer("counting").count = count
    return model


def test_the_loading_hooks_of_a_class_run(path: Path, tools: Any) -> None:
    model = counting(7)
    tiedio.save_weights(model, path)
    fresh = counting(0)
    assert tiedio.load_weights(fresh, path).complete
    assert fresh.get_layer("counting").count == 7
    assert tools.values(fresh) == tools.values(model)


@pytest.mark.parametrize("fault", ["raises", "other value", "other value in place"])
@pytest.mark.parametrize("mmap", [True, False])
def test_a_failure_after_assignment(
    path: Path, tools: Any, monkeypatch: pytest.MonkeyPatch, fault: str, mmap: bool
) -> None:
    tiedio.save_weights(counting(7), path)
    model = counting(0)
    before = tools.picture(model)
    monkeypatch.setattr(Counting, "fault", fault)
    with pytest.raises(RebuildError if fault == "raises" else MismatchError):
        tiedio.load_weights(model, path, mmap=mmap)
    layer = model.get_layer("counting")
    assert (layer.count, layer.seen, hasattr(layer, "extra")) == (0, ["nothing"], False)
    assert tools.picture(model) == before


def test_what_a_hook_stored_needs_a_class_with_that_hook(path: Path, tools: Any) -> None:
    class Plain(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.scale = self.add_weight((shape[-1],), name="scale")

        def call(self, x: Any) -> Any:
            return x * self.scale

    tiedio.save_weights(counting(7), path)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="dense"), Plain(name="counting")])
    before = tools.picture(model)
    with pytest.raises(MismatchError, match="saving hook"):
        tiedio.load_weights(model, path)
    assert tools.picture(model) == before
    report = tiedio.load_weights(model, path, strict=False)
    assert "counting/scale" in report.loaded
    assert [place for place, _ in report.skipped] == ["counting"]


def test_a_vocabulary_is_the_code_s_and_has_to_be_the_file_s(path: Path, tools: Any) -> None:
    def build(words: list[str]) -> Any:
        lookup = keras.layers.StringLookup(name="lookup")
        lookup.adapt(np.array(words))
        inputs = keras.Input((2,), dtype="string")
        return keras.Model(inputs, keras.layers.Embedding(4, 2, name="embedding")(lookup(inputs)))

    tiedio.save_weights(build(["a", "b"]), path)
    same, other = build(["a", "b"]), build(["b", "c"])
    assert tiedio.load_weights(same, path).complete
    before = tools.picture(other)
    with pytest.raises(MismatchError, match="set_vocabulary"):
        tiedio.load_weights(other, path)
    assert tools.picture(other) == before
    report = tiedio.load_weights(other, path, strict=False)
    assert report.skipped == (("lookup", "another vocabulary in the file"),)
