"""The structure and the training record of a file are checked before anything is made: each refusal has its place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

import tiedio
from tiedio.container.header import build_header, read_header
from tiedio.errors import FormatError, TiedioError
from tiedio.inspection import MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY
from tiedio.structure import shape
from tiedio.testing.zoo_base import floats, trained

Change = Callable[[Any, Any], Any]
KIND = "wrong kind of value"

CLASS = {"module": "keras.layers", "class_name": "Dense", "registered_name": None}
TABLE: Any = {
    "objects": [
        {
            "kind": "functional", "class": {**CLASS}, "name": "m", "held": [], "found_at": [], "nodes": [0, 1],
            "operations": [1, 2], "config": {}, "inputs": {"$tensor": [0, 0]}, "outputs": [{"$tensor": [1, 0]}],
        },
        {"kind": "object", "class": {**CLASS}, "name": "a", "held": [[0, [["layer", 0]]]], "found_at": []},
        {
            "kind": "sequential", "class": {**CLASS}, "name": "s", "found_at": [1], "layers": [1], "shape": None,
            "held": [[0, [["operation", 1]]], [1, [["attribute", "x"]]]],
        },
    ],
    "nodes": [
        {"operation": 1, "call": 0, "input": True},
        {
            "operation": 2, "call": 0, "model": 2, "position": 0, "kwargs": {"$dict": []},
            "args": {"$tuple": [{"$tensor": [0, 0]}, {"$keras": {"$object": 1}}]},
        },
    ],
    "steps": [["make", 1], ["find", 2], ["call", 0], ["call", 1], ["make", 0]],
}  # fmt: skip
TRAINING: Any = {
    "models": [{"model": 0, "optimizer": 0, "config": {"loss": {"$object": 1}}, "omitted": []}],
    "optimizers": [{"class_name": "Adam", "config": {}}],
}


def check(table: Any, training: Any) -> None:
    shape.check(table, training, objects=3, optimizers=1, path="file")


def changed(change: Change) -> tuple[Any, Any]:
    table, training = copy.deepcopy(TABLE), copy.deepcopy(TRAINING)
    change(table, training)
    return table, training


def test_a_table_and_a_training_record_of_the_right_shape_are_accepted() -> None:
    check(TABLE, TRAINING)
    check(TABLE, {**TRAINING, "models": []})


@pytest.mark.parametrize(
    "value", [{"$variable": "a/kernel"}, {"$numpy": ["float64", "0.5"]}], ids=["variable", "numpy"]
)
def test_a_config_of_format_3_is_unknown_to_versions_before_it(value: Any) -> None:
    table, _ = changed(lambda s, t: s["objects"][1].update(config={"source": value}))
    check(table, TRAINING)
    for version in (1, 2):
        with pytest.raises(FormatError, match="unknown key in a config"):
            shape.check(table, TRAINING, 3, 1, "file", version=version)


def test_keys_of_a_newer_version_are_unknown_to_an_older_one() -> None:
    newer = [{**TRAINING, "shared": [{}]}, {**TRAINING, "models": [{**TRAINING["models"][0], "given": None}]}]
    shape.check(TABLE, TRAINING, 3, 1, "file", version=1)
    for training in newer:
        check(TABLE, training)
        with pytest.raises(FormatError, match="unknown key"):
            shape.check(TABLE, training, 3, 1, "file", version=1)


@pytest.mark.parametrize(
    ("change", "what", "place"),
    [
        (lambda s, t: s.update(roots=[]), "unknown key", "structure"),
        (lambda s, t: s["objects"][1].update(slots=[]), "unknown key", "structure.objects[1]"),
        (lambda s, t: s["objects"][2]["class"].update(x=1), "unknown key", "structure.objects[2].class"),
        (lambda s, t: s["nodes"][1].update(outputs=1), "unknown key", "structure.nodes[1]"),
        (lambda s, t: t.update(x=1), "unknown key", "training"),
        (lambda s, t: t["models"][0].update(loss="mse"), "unknown key", "training.models[0]"),
        (lambda s, t: s.pop("steps"), "missing key", "structure"),
        (lambda s, t: s["objects"][0].pop("held"), "missing key", "structure.objects[0]"),
        (lambda s, t: s["objects"][0].pop("found_at"), "missing key", "structure.objects[0]"),
        (lambda s, t: s["objects"][0].pop("kind"), "missing key", "structure.objects[0]"),
        (lambda s, t: s["objects"][0]["class"].pop("module"), "missing key", "structure.objects[0].class"),
        (lambda s, t: s["nodes"][0].pop("call"), "missing key", "structure.nodes[0]"),
        (lambda s, t: t["models"][0].pop("omitted"), "missing key", "training.models[0]"),
        (lambda s, t: s["objects"][1].pop("class"), "an object has no class", "structure.objects[1]"),
        (lambda s, t: s["objects"].append("layer"), "an object has no class", "structure.objects[3]"),
        (lambda s, t: s.update(objects={}), KIND, "structure.objects"),
        (lambda s, t: s["objects"][0].update(name=1), KIND, "structure.objects[0].name"),
        (lambda s, t: s["objects"][1].update(built=1), KIND, "structure.objects[1].built"),
        (lambda s, t: s["objects"][0].update(nodes=[0, True]), KIND, "structure.objects[0].nodes[1]"),
        (lambda s, t: s["objects"][2].update(found_at=["1"]), KIND, "structure.objects[2].found_at[0]"),
        (lambda s, t: s["objects"][2]["class"].update(module=1), KIND, "structure.objects[2].class.module"),
        (lambda s, t: s["nodes"][0].update(input=1), KIND, "structure.nodes[0].input"),
        (lambda s, t: s["nodes"][0].update(operation=1.0), KIND, "structure.nodes[0].operation"),
        (lambda s, t: t["models"][0].update(config=None), KIND, "training.models[0].config"),
        (lambda s, t: t["models"][0].update(model=None), KIND, "training.models[0].model"),
    ],
)  # fmt: skip
def test_a_record_with_another_shape_is_refused_with_its_place(change: Change, what: str, place: str) -> None:
    with pytest.raises(FormatError) as caught:
        check(*changed(change))
    assert (caught.value.what, caught.value.path) == (what, f"file: {place}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, t: s["objects"].pop(), "2 entries for 3 objects"),
        (lambda s, t: s["objects"].append(s["objects"][1]), "4 entries for 3 objects"),
        (lambda s, t: t["optimizers"].clear(), "0 configurations for 1 optimizers"),
        (lambda s, t: s["objects"][1].update(config={"a": [{"$object": 3}]}), "object 3 does not exist"),
        (lambda s, t: s["objects"][1].update(config={"$object": -1}), "object -1 does not exist"),
        (lambda s, t: s["objects"][1].update(config={"$object": True}), "object True does not exist"),
        (lambda s, t: s["objects"][1].update(config={"$object": "1"}), "object '1' does not exist"),
        (lambda s, t: t["models"][0].update(config={"loss": {"$object": 3}}), "object 3 does not exist"),
        (lambda s, t: s["objects"][2].update(layers=[1, 3]), "object 3 does not exist"),
        (lambda s, t: s["objects"][0].update(operations=[-1]), "object -1 does not exist"),
        (lambda s, t: s["objects"][0].update(nodes=[0, 2]), "node 2 does not exist"),
        (lambda s, t: s["objects"][2].update(found_at=[2]), "place 2 does not exist"),
        (lambda s, t: s["objects"][1].update(held=[[3, [["attribute", "x"]]]]), "object 3 does not exist"),
        (lambda s, t: s["objects"][1].update(held=["x"]), "a place that is no place: 'x'"),
        (lambda s, t: s["objects"][1].update(held=[[0]]), "a place that is no place: [0]"),
        (lambda s, t: s["objects"][1].update(held=[[0, []]]), "a place that is no place: [0, []]"),
        (lambda s, t: s["objects"][1].update(held=[[0, "x"]]), "a place that is no place: [0, 'x']"),
        (lambda s, t: s["objects"][1].update(held=[[0, [["call", 0]]]]), "an unknown step: [['call', 0]]"),
        (lambda s, t: s["objects"][1].update(held=[[0, [["index", 0, 0]]]]), "an unknown step: [['index', 0, 0]]"),
        (lambda s, t: s["objects"][1].update(held=[[0, [5]]]), "an unknown step: [5]"),
        (lambda s, t: s["objects"][1].update(kind="layer"), "an object of unknown kind 'layer'"),
        (lambda s, t: s["objects"][0].pop("inputs"), "a functional model without"),
        (lambda s, t: s["objects"][0].pop("outputs"), "a functional model without"),
        (lambda s, t: s["objects"][0].pop("config"), "a functional model without"),
        (lambda s, t: s["objects"][2].pop("shape"), "a sequential model without"),
        (lambda s, t: s["nodes"][0].update(operation=3), "object 3 does not exist"),
        (lambda s, t: s["nodes"][1].update(model=3), "object 3 does not exist"),
        (lambda s, t: s["nodes"][1].update(position=-1), "position -1 does not exist"),
        (lambda s, t: s["nodes"][1].pop("position"), "position None does not exist"),
        (lambda s, t: s["nodes"][1].update(args={"$tensor": [2, 0]}), "a tensor [2, 0] of no node"),
        (lambda s, t: s["nodes"][1].update(args={"$tensor": [0]}), "a tensor [0] of no node"),
        (lambda s, t: s["nodes"][1].update(kwargs={"$tensor": "x"}), "a tensor 'x' of no node"),
        (lambda s, t: s["steps"].append(["drop", 0]), "an unknown step ['drop', 0]"),
        (lambda s, t: s["steps"].append(["make"]), "an unknown step ['make']"),
        (lambda s, t: s["steps"].append(3), "an unknown step 3"),
        (lambda s, t: s["steps"].append(["make", 3]), "make 3 does not exist"),
        (lambda s, t: s["steps"].append(["find", "0"]), "find '0' does not exist"),
        (lambda s, t: s["steps"].append(["call", 2]), "call 2 does not exist"),
        (lambda s, t: t["models"][0].update(model=3), "object 3 does not exist"),
        (lambda s, t: t["models"][0].update(optimizer=1), "optimizer 1 does not exist"),
        (lambda s, t: t["models"][0].update(given=1), "optimizer 1 does not exist"),
        (lambda s, t: t["optimizers"][0]["config"].update(inner={"$optimizer": 1}), "optimizer 1 does not exist"),
        (lambda s, t: t["models"][0]["config"].update(loss={"$shared": 0}), "shared part 0 does not exist"),
    ],
)
def test_a_number_that_points_nowhere_is_refused_and_named(change: Change, message: str) -> None:
    with pytest.raises(FormatError, match="contradicts the manifest") as caught:
        check(*changed(change))
    assert message in str(caught.value.found)
    assert caught.value.path == "file"


def test_what_is_shown_of_a_damaged_file_is_short() -> None:
    with pytest.raises(FormatError) as caught:
        check(*changed(lambda s, t: s["objects"][1].update(kind="x" * 10_000)))
    assert len(str(caught.value.found)) <= 100


# --- end to end ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Object 2 is a layer whose kernel is an argument of node 2, together with a constant in node 3."""
    inputs = keras.Input((3,), name="inputs")
    dense = keras.layers.Dense(3, name="dense")
    hidden = keras.ops.add(keras.ops.matmul(dense(inputs), dense.kernel), floats(3))
    nested = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="inner")], name="nested")
    model = keras.Model(inputs, nested(hidden), name="model")
    trained(model, floats(2, 3), floats(2, 1), steps=1)
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    tiedio.save(model, path)
    return path


def edited(path: Path, folder: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """A copy of a file with other JSON texts."""
    header = read_header(path)
    keys = {"manifest": MANIFEST_KEY, "structure": STRUCTURE_KEY, "training": TRAINING_KEY}
    texts = {name: json.loads(header.metadata[key]) for name, key in keys.items()}
    edit(texts)
    metadata = {**header.metadata, **{key: json.dumps(texts[name]) for name, key in keys.items()}}
    copied = folder / "edited.safetensors"
    copied.write_bytes(build_header(list(header.entries.values()), metadata) + path.read_bytes()[header.data_start :])
    return copied


def objects(texts: dict[str, Any]) -> Any:
    return texts["structure"]["objects"]


def nodes(texts: dict[str, Any]) -> Any:
    return texts["structure"]["nodes"]


def test_the_file_that_the_next_test_damages_is_right(saved: Path, tmp_path: Path) -> None:
    model = tiedio.load(edited(saved, tmp_path, lambda texts: None))
    assert [list(tie.slots) for tie in tiedio.find_ties(model)] == [["dense/kernel", "@node/matmul/0/args/1"]]
    texts = {"structure": json.loads(read_header(saved).metadata[STRUCTURE_KEY])}
    names = [entry["name"] for entry in objects(texts)]
    assert names == ["model", "inputs", "dense", "matmul", "add", "nested", "input_layer", "inner"]
    assert nodes(texts)[2]["args"]["$tuple"] == [{"$tensor": [1, 0]}, {"$variable": "dense/kernel"}]
    assert nodes(texts)[3]["args"]["$tuple"] == [{"$tensor": [2, 0]}, {"$constant": ["numpy", "@constant/0"]}]


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: objects(d)[2].pop("parent_path"),
        lambda d: objects(d)[2].pop("built"),
        lambda d: objects(d)[2].update(build_config=-1),
        lambda d: objects(d)[2].update(build_config={"$bytes": "*"}),
        lambda d: objects(d)[2].update(config=[]),
        lambda d: objects(d)[2].update(config={"units": {"$nope": 1}}),
        lambda d: objects(d)[2].update(config={"units": {"$dict": [[[1], 2]]}}),
        lambda d: objects(d)[2].update(config={"units": {"$object": 2}}),
        lambda d: nodes(d)[2].update(kwargs={"$dict": [["x", {"$bytes": "*"}]]}),
        lambda d: nodes(d)[2].update(kwargs={"$dict": [[[1], 2]]}),
        lambda d: objects(d)[2].update(held=[[0, [["attribute", None]]]]),
        lambda d: objects(d)[2].update(kind="sequential", shape=None),
        lambda d: objects(d)[2].update(kind="functional", inputs=None, outputs=None, config={}),
        lambda d: objects(d)[5].pop("layers"),
        lambda d: objects(d)[5].update(shape={"$tuple": ["x"]}),
        lambda d: objects(d)[5].update(shape={"$nope": 1}),
        lambda d: objects(d)[0].pop("nodes"),
        lambda d: objects(d)[0].update(inputs={"$tensor": 0}),
        lambda d: objects(d)[0].update(inputs={"$tensor": [9, 0]}),
        lambda d: objects(d)[0].update(outputs={"$tensor": [1, 7]}),
        lambda d: objects(d)[0].update(outputs={"$tensor": [1, {}]}),
        lambda d: objects(d)[0].update(outputs=None),
        lambda d: nodes(d)[2].pop("kwargs"),
        lambda d: nodes(d)[2].update(args={"$tensor": [1, 9]}),
        lambda d: nodes(d)[2].update(args={"$tuple": [{"$tensor": [1, -1]}]}),
        lambda d: nodes(d)[2].update(args={"$variable": "nope"}),
        lambda d: nodes(d)[2].update(args={"$variable": {}}),
        lambda d: nodes(d)[2]["args"]["$tuple"][0].update({"$tensor": [2, 0]}),
        lambda d: nodes(d)[2]["args"]["$tuple"][0].update({"$tensor": [3, 0]}),
        lambda d: nodes(d)[3]["args"]["$tuple"].append({"$constant": ["numpy", "nope"]}),
        lambda d: nodes(d)[3]["args"]["$tuple"].append({"$constant": 5}),
        lambda d: nodes(d)[3]["args"]["$tuple"].append({"$keras": 5}),
        lambda d: d["training"]["optimizers"].__setitem__(0, None),
        lambda d: d["training"]["optimizers"].__setitem__(0, 0.5),
        lambda d: d["training"]["optimizers"][0].update(config="x"),
        lambda d: d["training"]["optimizers"][0]["config"].update(learning_rate=[0]),
        lambda d: d["training"]["optimizers"][0]["config"].update(learning_rate={"$bytes": "AA"}),
        lambda d: d["training"]["models"][0].update(omitted=[1]),
        lambda d: d["training"]["models"][0].update(omitted=[[["loss"], 1]]),
        lambda d: d["training"]["models"][0]["config"].update(loss={"$tensor": [0, 0]}),
        lambda d: d["training"]["models"][0]["config"].update(no_such_argument=1),
        lambda d: d["manifest"]["versions"].pop("floatx"),
        lambda d: d["manifest"]["versions"].update(floatx="float128"),
        lambda d: d["manifest"]["variables"][0].update(aggregation="nope"),
        lambda d: d["manifest"]["variables"][0].update(regularizer={"$object": 2}),
        lambda d: d["manifest"]["variables"][0].update(constraint=5),
        lambda d: d["manifest"].update(roots=[{"name": "a", "path": ""}, {"name": "a", "path": "nested"}]),
    ],
)
def test_a_damaged_structure_is_refused_with_an_error_of_this_package(
    saved: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], Any]
) -> None:
    damaged = edited(saved, tmp_path, edit)
    with pytest.raises(TiedioError) as caught:
        tiedio.load(damaged)
    assert caught.value.path
