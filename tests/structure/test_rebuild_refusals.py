"""A table that does not become a model again is told with the place, what was found and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from tiedio import slots, strict_json
from tiedio.errors import RebuildError
from tiedio.limits import Limits
from tiedio.structure.audit import Rules
from tiedio.structure.rebuild import Rebuilder
from tiedio.structure.table import tabulate

X = np.linspace(-1, 1, 6).reshape(2, 3).astype("float32")
CUSTOM: dict[str, Any] = {}


def rebuilder(
    roots: Any, change: Callable[[dict[str, Any]], None] | None = None, asked: list[str] | None = None
) -> Rebuilder:
    walk = slots.walk(roots if isinstance(roots, dict) else {None: roots})
    found = tabulate(walk)
    record = json.loads(strict_json.dumps(found.record))
    if change is not None:
        change(record)
    by_path = {slot.path: slot.variable for slot in walk.slots}

    def variable(path: str) -> Any:
        if asked is not None:
            asked.append(path)
        return keras.Variable(by_path[path].numpy())

    return Rebuilder(
        record,
        [found.path for found in walk.objects],
        rules=Rules(CUSTOM, safe_mode=True, limits=Limits().for_file(1 << 20)),
        variable=variable,
        constant=lambda name: np.array(found.constants[name]),
    )


def rebuilt(roots: Any, **options: Any) -> Any:
    return rebuilder(roots, **options).run()[0]


def plain() -> Any:
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="dense")], name="model")


def entry(record: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in record["objects"] if one["name"] == name)


def refused(model: Any, change: Callable[[dict[str, Any]], None]) -> RebuildError:
    with pytest.raises(RebuildError) as caught:
        rebuilt(model, change=change)
    error = caught.value
    for part in ("path", "found", "remedy"):
        assert getattr(error, part), f"no {part} in: {error}"
    return error


def test_an_argument_that_the_class_does_not_take() -> None:
    error = refused(plain(), lambda record: entry(record, "dense")["config"].update(wings=2))
    assert error.path == "dense"
    assert "Dense cannot be made" in str(error)
    assert "wings" in str(error.found)


def test_an_argument_whose_value_is_wrong() -> None:
    assert "units" in str(refused(plain(), lambda record: entry(record, "dense")["config"].update(units=-1)).found)


def test_a_class_that_is_not_known() -> None:
    error = refused(plain(), lambda record: entry(record, "dense")["class"].update(module="m", registered_name="Gone"))
    assert error.path == "dense"


def test_an_object_without_a_config() -> None:
    class Subclassed(keras.Model):
        def __init__(self, inner: Any) -> None:
            super().__init__(name="mine")
            self.inner = inner

        def call(self, x: Any) -> Any:
            return self.inner(x)

    CUSTOM.update(Subclassed=Subclassed)
    model = Subclassed(keras.layers.Dense(1))
    model(X)
    error = refused(model, lambda record: None)
    assert error.path == "the model"
    assert "get_config" in str(error.expected)
    assert "Subclassed" in str(error.remedy)


def test_an_object_that_needs_itself() -> None:
    def change(record: dict[str, Any]) -> None:
        n = record["objects"].index(entry(record, "dense"))
        entry(record, "dense")["config"]["activation"] = {"$object": n}

    assert "needs itself" in str(refused(plain(), change).found)


def test_a_call_that_its_model_does_not_make() -> None:
    def change(record: dict[str, Any]) -> None:
        for node in record["nodes"]:
            if "position" in node:
                node["position"] = 40

    assert "call" in str(refused(plain(), change).found)


def test_an_operation_that_does_not_take_its_input() -> None:
    inputs = keras.Input((3,), name="in")
    model = keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs))
    error = refused(model, lambda record: entry(record, "in")["config"].update(batch_shape={"$tuple": []}))
    assert error.path == "dense"


def test_user_code_that_fails_is_told_with_its_place() -> None:
    class Breaks(keras.layers.Layer):
        broken = False

        def build(self, _shape: Any) -> None:
            if self.broken:
                raise LookupError("out of luck")

        def call(self, x: Any) -> Any:
            return x

    CUSTOM.update(Breaks=Breaks)
    model = keras.Sequential([keras.Input((3,)), Breaks(name="breaks")])
    Breaks.broken = True
    error = refused(model, lambda record: None)
    assert "out of luck" in str(error.found)
    assert isinstance(error.__cause__, Exception)
