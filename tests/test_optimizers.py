"""Optimizers inside optimizers are found once each, made once each, and built for the recorded variables."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import pytest

import tiedio
from tiedio import keras_api, manifest, optimizers
from tiedio.errors import MismatchError, ModelError, RebuildError

SGD, Adam = keras.optimizers.SGD, keras.optimizers.Adam


class Wraps(keras.optimizers.Optimizer):
    """Holds what it is given in one attribute."""

    def __init__(self, parts: Any) -> None:
        super().__init__(0.1)
        self.parts = parts


def places(optimizer: Any) -> dict[str, Any]:
    return {one.path: one.value for one in optimizers.find([("", "@optimizer", optimizer)])}


# --- finding ----------------------------------------------------------------------------------------------


def test_an_optimizer_is_found_in_attributes_lists_and_dicts() -> None:
    one, other, third = SGD(), SGD(), Adam()
    found = places(Wraps({"b/c": one, "a": [other, Wraps(third)]}))
    assert list(found) == [
        "@optimizer", "@optimizer/parts/a/0", "@optimizer/parts/a/1", "@optimizer/parts/b%2Fc",
        "@optimizer/parts/a/1/parts",
    ]  # fmt: skip
    assert found["@optimizer/parts/b%2Fc"] is one
    assert found["@optimizer/parts/a/0"] is other
    assert found["@optimizer/parts/a/1/parts"] is third


def test_an_optimizer_in_two_places_is_found_once_and_nearest_to_the_model() -> None:
    inner = SGD()
    outer = keras.optimizers.LossScaleOptimizer(inner)
    found = optimizers.find([("a", "a/@optimizer", outer), ("b", "b/@optimizer", inner), ("c", "c/@optimizer", inner)])
    assert [(one.path, one.models) for one in found] == [("a/@optimizer", ("a",)), ("b/@optimizer", ("b", "c"))]


def test_an_optimizer_that_holds_itself_is_found_once() -> None:
    one = Wraps(None)
    one.parts = [one]
    assert list(places(one)) == ["@optimizer"]


# --- state ------------------------------------------------------------------------------------------------


def test_the_state_of_an_inner_optimizer_is_named_by_the_models_variable() -> None:
    kernel, bias = (keras.Variable([1.0], name=name) for name in ("kernel", "bias"))
    parts = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(SGD(momentum=0.5), {"kernel": SGD()}))
    parts.build([kernel, bias])
    found = optimizers.find([("", "@optimizer", parts)])
    canonical = {id(kernel): "a/kernel", id(bias): "a/bias"}
    own = {slot.path: slot.variable for slot in optimizers.find_slots(found, canonical)}
    assert own["@optimizer/inner_optimizers/1/momentums/a/bias"] is parts.optimizers[1].momentums[0]
    records = optimizers.describe(found, canonical, [kernel, bias])
    assert [one.variables for one in records] == [("a/kernel", "a/bias"), ("a/kernel",), ("a/bias",)]


def test_an_inner_optimizer_of_a_variable_that_is_gone_is_named() -> None:
    kernel = keras.Variable([1.0], name="kernel")
    outer = keras.optimizers.LossScaleOptimizer(SGD())
    outer.inner_optimizer.build([kernel])
    with pytest.raises(ModelError, match="no longer in the model") as caught:
        optimizers.describe(optimizers.find([("", "@optimizer", outer)]), {}, [])
    assert caught.value.path == "@optimizer/inner_optimizer"
    assert caught.value.found == "kernel"


# --- making them again ------------------------------------------------------------------------------------


def encoded(optimizer: Any, number: dict[int, Any]) -> list[Any]:
    found = optimizers.find([("", "@optimizer", optimizer)])
    number |= {id(one.value): {optimizers.REFERENCE: n} for n, one in enumerate(found)}
    return optimizers.encode(found, number, lambda _path, get: keras_api.stamped(get))


def reviver(configs: list[Any]) -> optimizers.Reviver:
    paths = [f"@optimizer/{n}" for n in range(len(configs))]
    return optimizers.Reviver(configs, paths, lambda config: keras_api.deserialize(config, {}, True))


def test_one_optimizer_in_two_places_is_made_once() -> None:
    both = SGD(0.25)
    configs = encoded(keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(both, {"a": both})), {})
    assert configs[0]["config"]["optimizer_map"]["config"]["default_optimizer"] == {"$optimizer": 1}
    revived = reviver(configs)
    parts = revived[0]._optimizer_map
    assert parts["a"] is parts.default_optimizer is revived[1]
    assert float(revived[1].learning_rate) == 0.25


def test_an_optimizer_that_its_own_file_puts_inside_itself_is_refused() -> None:
    (config, _) = encoded(keras.optimizers.LossScaleOptimizer(SGD()), {})
    config["config"]["inner_optimizer"] = {"$optimizer": 0}
    with pytest.raises(RebuildError, match="cannot be made again") as caught:
        reviver([config])[0]
    assert caught.value.path == "@optimizer/0"
    assert caught.value.found == "one that holds itself"


def test_an_optimizer_that_another_one_makes_keeps_its_name() -> None:
    chosen = keras.optimizers.MultiOptimizer(lambda _variable: SGD(name="mine"))
    variable = keras.Variable([1.0], name="kernel")
    chosen.build([variable])
    found = optimizers.find([("", "@optimizer", chosen)])
    (record, inner) = optimizers.describe(found, {id(variable): "kernel"}, [variable])
    config = keras_api.class_reference(keras.optimizers.MultiOptimizer)
    maker = optimizers.Reviver(
        [config, "mine"], ["", ""], lambda _: keras.optimizers.MultiOptimizer(lambda _variable: SGD())
    )
    optimizers.build(maker, (record, inner), {"kernel": variable})
    assert maker[0].optimizers[0].name == "mine"
    assert maker[0].built


def test_an_optimizer_that_is_built_for_other_variables_is_told() -> None:
    record = manifest.Optimizer("@optimizer", ("",), "SGD", True, ("a", "b"))
    optimizers.require_equal([record], [record])
    with pytest.raises(MismatchError) as caught:
        optimizers.require_equal([dataclasses.replace(record, variables=("b", "a"))], [record])
    error = caught.value
    assert (error.path, error.expected, error.found) == ("@optimizer", "SGD for a, b", "SGD for b, a")
    assert "compile=False" in str(error.remedy)
    with pytest.raises(MismatchError, match="nothing"):
        optimizers.require_equal([], [record])


def test_a_schedule_inside_an_inner_optimizer_is_compared() -> None:
    def around(rate: float) -> Any:
        schedule = keras.optimizers.schedules.ExponentialDecay(rate, 2, 0.5)
        return optimizers.find([("", "@optimizer", keras.optimizers.LossScaleOptimizer(SGD(schedule, name="inner")))])

    optimizers.compare(around(0.5), around(0.5))
    with pytest.raises(ModelError) as caught:
        optimizers.compare(around(0.5), around(0.25))
    assert str(caught.value.path).startswith("@optimizer/inner_optimizer/_learning_rate")


@pytest.mark.parametrize("refused", [False, True])
def test_names_excluded_from_weight_decay_that_are_tensorflows_alone_are_refused(refused: bool, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="first")])
    raw = model.layers[0].kernel.value
    raw._handle_name = "other/kernel:0"  # as if the layer had been given a variable made elsewhere
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["first" if refused else "bias"])
    model.compile(optimizer, "mse")
    path = tmp_path / "m.safetensors"
    if not refused:
        tiedio.save(model, path)
        return
    with pytest.raises(ModelError, match="goes by a TensorFlow name that is not the variable's path"):
        tiedio.save(model, path)
    assert not path.exists()
