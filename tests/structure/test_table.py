"""A table holds each object once, by number, with its config, its graph and the places that hold it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tiedio import configs, slots, strict_json
from tiedio.errors import ModelError
from tiedio.structure.table import Table, tabulate


def table(model: Any) -> Table:
    return tabulate(slots.walk(model if isinstance(model, dict) else {None: model}))


def named(found: Table, name: str) -> dict[str, Any]:
    (entry,) = [entry for entry in found.record["objects"] if entry["name"] == name]
    return dict(entry)


def number(found: Table, name: str) -> int:
    return [entry["name"] for entry in found.record["objects"]].index(name)


class Wraps(keras.layers.Layer):
    """Takes a layer and gives it back in its config; makes another that no config names."""

    def __init__(self, inner: Any, **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner
        self.made = keras.layers.Dense(3, name="made")

    def call(self, x: Any) -> Any:
        return self.made(self.inner(x))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)


def shared_model() -> Any:
    inner = keras.layers.Dense(3, name="inner")
    inputs = keras.Input((3,), name="in")
    return keras.Model(inputs, inner(Wraps(inner, name="wraps")(inner(inputs))), name="model")


def test_every_object_stands_once_and_configs_refer_to_it_by_number() -> None:
    found = table(shared_model())
    assert [entry["name"] for entry in found.record["objects"]] == ["model", "in", "inner", "wraps", "made"]
    assert configs.references(named(found, "wraps")["config"]) == [number(found, "inner")]
    assert "units" not in strict_json.dumps(named(found, "wraps")["config"])


def test_places_name_the_owner_and_the_way_to_the_child() -> None:
    found = table(shared_model())
    assert named(found, "inner")["held"] == [[0, [["operation", 1]]], [3, [["attribute", "inner"]]]]
    assert named(found, "inner")["found_at"] == []
    assert named(found, "made")["held"] == [[3, [["attribute", "made"]]]]
    assert named(found, "made")["found_at"] == [0]


def test_a_functional_model_is_its_nodes_and_ends() -> None:
    found = table(shared_model())
    entry = named(found, "model")
    assert entry["kind"] == "functional"
    assert entry["operations"] == [number(found, name) for name in ("in", "inner", "wraps")]
    nodes = found.record["nodes"]
    assert [(nodes[k]["operation"], nodes[k]["call"]) for k in entry["nodes"]] == [(1, 0), (2, 0), (3, 0), (2, 1)]
    assert entry["inputs"] == {"$tensor": [0, 0]} or entry["inputs"] == [{"$tensor": [0, 0]}]
    assert configs.references(entry["outputs"], "$tensor") == [[3, 0]]
    assert nodes[0]["input"] is True
    assert nodes[3]["args"] == {"$tuple": [{"$tensor": [2, 0]}]}


def test_a_sequential_model_is_its_layers_repeats_included() -> None:
    dense = keras.layers.Dense(3, name="dense")
    entry = named(table(keras.Sequential([keras.Input((3,), name="in"), dense, dense], name="s")), "s")
    assert entry["kind"] == "sequential"
    assert entry["layers"] == [1, 2, 2]
    assert entry["shape"] == {"$tuple": [None, 3]}


def test_a_sequential_model_that_is_not_built_has_no_shape() -> None:
    entry = named(table(keras.Sequential([keras.layers.Dense(3)], name="s")), "s")
    assert entry["shape"] is None
    assert entry["built"] is False


def test_a_model_without_a_config_tells_why() -> None:
    class Subclassed(keras.Model):
        def __init__(self, inner: Any) -> None:
            super().__init__(name="m")
            self.inner = inner

    entry = named(table(Subclassed(keras.layers.Dense(1))), "m")
    assert "config" not in entry
    assert entry["no_config"]


def test_arguments_that_the_constructor_does_not_take_are_left_out() -> None:
    class Bare(keras.layers.Layer):
        def __init__(self, units: int) -> None:
            super().__init__(name="bare")

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": 3}

    assert named(table(keras.Sequential([Bare(3)])), "bare")["config"] == {"units": 3}


def test_arguments_of_a_call_are_tensors_variables_constants_and_plain_values() -> None:
    inputs = keras.Input((3,), name="in")
    dense = keras.layers.Dense(3, name="dense")
    hidden = keras.ops.matmul(dense(inputs), dense.kernel)
    hidden = keras.ops.add(hidden, np.array([1, 2, 3], "float32"))
    hidden = keras.ops.multiply(hidden, keras.ops.ones((3,)))
    hidden = keras.ops.subtract(hidden, np.float32(2))
    hidden = keras.ops.concatenate([hidden, inputs], axis=-1)
    hidden = hidden[:, 1:5:2, None]
    found = table(keras.Model(inputs, hidden))
    calls = {found.record["objects"][node["operation"]]["class"]["class_name"]: node for node in found.record["nodes"]}
    assert calls["Matmul"]["args"]["$tuple"][1] == {"$variable": "dense/kernel"}
    kinds = [
        name
        for node in calls.values()
        for name in configs.references([node.get("args"), node.get("kwargs")], "$constant")
    ]
    assert [kind for kind, _ in kinds] == ["numpy", "tensor", "scalar"]
    assert [name for _, name in kinds] == list(found.constants)
    assert np.array_equal(found.constants[kinds[0][1]], [1, 2, 3])
    assert len(configs.references(calls["Concatenate"]["args"], "$tensor")) == 2
    text = strict_json.dumps([calls["GetItem"]["args"], calls["GetItem"]["kwargs"]])
    assert "__slice__" in text


def test_calls_in_graphs_that_are_not_saved_leave_no_gap() -> None:
    dense = keras.layers.Dense(3, name="dense")
    for _ in range(3):
        dense(keras.Input((3,)))
    inputs = keras.Input((3,))
    found = table(keras.Model(inputs, dense(dense(inputs))))
    calls = [node["call"] for node in found.record["nodes"] if node["operation"] == number(found, "dense")]
    assert calls == [0, 1]


def test_an_input_in_two_models_is_one_node() -> None:
    inputs = keras.Input((3,), name="in")
    hidden = keras.layers.Dense(3, name="dense")(inputs)
    found = table(
        {"a": keras.Model(inputs, hidden), "b": keras.Model(inputs, keras.layers.Dense(1, name="end")(hidden))}
    )
    first, second = found.record["objects"][0], found.record["objects"][1]
    assert first["nodes"] == second["nodes"][:2]
    assert len([node for node in found.record["nodes"] if node.get("input")]) == 1


def test_steps_make_or_find_every_object_and_make_every_call() -> None:
    found = table(shared_model())
    steps = found.record["steps"]
    assert sorted(n for kind, n in steps if kind != "call") == list(range(5))
    assert sorted(n for kind, n in steps if kind == "call") == list(range(4))
    assert ["find", number(found, "made")] in steps


def test_a_table_is_json_and_the_same_twice() -> None:
    model = shared_model()
    first, second = (strict_json.dumps(table(model).record) for _ in range(2))
    assert first == second
    assert strict_json.loads(first, "here") == table(model).record


def test_tuples_integer_keys_and_infinities_of_a_config_are_told_apart() -> None:
    class Odd(keras.layers.Layer):
        def get_config(self) -> dict[str, Any]:
            return {"t": (1, [2]), "k": {1: 2, "1": 3}, "f": [float("inf"), float("nan")], "$s": b"\x00"}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls()

    config = named(table(keras.Sequential([Odd(name="odd")])), "odd")["config"]
    decoded = configs.decode(config, {})
    assert decoded["t"] == (1, [2])
    assert type(decoded["t"]) is tuple
    assert decoded["k"] == {1: 2, "1": 3}
    assert decoded["f"][0] == float("inf")
    assert decoded["f"][1] != decoded["f"][1]


@pytest.mark.parametrize("key", [(1, 2), 1.5, b"k"])
def test_a_key_that_cannot_be_stored_is_named_with_its_layer(key: Any) -> None:
    class Keyed(keras.layers.Layer):
        pass

    keyed = Keyed(name="keyed")
    keyed.table = {key: keras.layers.Dense(1)}
    with pytest.raises(ModelError, match="key that cannot be stored") as caught:
        table(keras.Sequential([keyed]))
    assert "keyed" in str(caught.value.path)
    assert caught.value.found == repr(key)
    assert caught.value.remedy
