"""The published schemas describe what `save` writes, and refuse what the reader refuses."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import tiedio
from tiedio import manifest, records, strict_json, views
from tiedio.container.header import Header, read_header
from tiedio.errors import FormatError
from tiedio.inspection import DIGESTS_KEY, FORMAT_KEY, MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY
from tiedio.structure import shape
from tiedio.testing import zoo

KEYS = {"manifest": MANIFEST_KEY, "structure": STRUCTURE_KEY, "training": TRAINING_KEY}
# The refusals that are about shape, which a schema can say; contradictions between records it cannot.
SHAPE_FAULTS = ("unknown key", "missing key", "wrong kind of value", "unknown view", "an object has no class")


def _schema(name: str) -> Any:
    return json.loads((resources.files("tiedio") / f"schema/{name}-{manifest.FORMAT}.json").read_text(encoding="utf-8"))


SCHEMAS = {name: _schema(name) for name in KEYS}
VALIDATORS = {name: Draft202012Validator(schema) for name, schema in SCHEMAS.items()}


def faults(name: str, value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATORS[name].iter_errors(value)]


def documents_of(path: Path) -> dict[str, Any]:
    header = read_header(path)
    return {name: json.loads(header.metadata[key]) for name, key in KEYS.items()}


# --- small documents with every key, for mutations -------------------------------------------------

CONFIG: Any = {
    "units": 3, "rate": 0.5, "flag": True, "none": None, "plain": [1, {"x": "y"}], "shape": {"$tuple": [None, 3]},
    "table": {"$dict": [[1, "one"], [{"$tuple": [1, 2]}, {"$float": "inf"}], [0, {"$numpy": ["float64", "0.1"]}],
    ["$x", {"$bytes": "AAE="}]]},
}  # fmt: skip
CLASS = {"module": "keras.layers", "class_name": "Dense", "registered_name": None}
MANIFEST: Any = {
    "format": manifest.FORMAT,
    "versions": {
        "tiedio": "0.1.0", "keras": "3.15.1", "backend": "tensorflow", "floatx": "float32",
        "image_data_format": "channels_last",
    },
    "roots": [{"name": "", "path": ""}, {"name": "a", "path": "a"}],
    "objects": [
        {"path": "", "class_name": "Functional", "paths": [""], "trainable": True, "orders": {"layers": ["a"]}},
        {"path": "a", "class_name": "Dense", "paths": ["a", ".b"], "orders": {"trainable_variables": ["a/kernel"]}},
    ],
    "variables": [
        {
            "slots": [
                {"path": "a/kernel", "view": None}, {"path": "b/kernel"},
                {"path": "c/kernel", "view": {"name": "transpose", "axes": [1, 0]}},
                {"path": "d/kernel", "view": {"name": "reshape", "shape": [3, 1, 2]}},
                {"path": "e/kernel", "view": {"name": "slice", "start": [0, 1], "shape": [2, 2]}},
            ],
            "shape": [2, 3], "dtype": "float32", "name": "kernel", "path": "a/kernel",
            "trainable": False, "created_trainable": False, "autocast": False,
            "aggregation": "mean", "synchronization": "none", "overwrite_with_gradient": True,
            "regularizer": {"module": "keras.regularizers", "class_name": "L2", "config": {"l2": 0.1}},
            "constraint": None,
        },
        {"slots": [{"path": "@optimizer/m"}], "shape": [], "dtype": "float32", "name": "m", "path": "adam/m"},
    ],
    "optimizers": [
        {
            "path": "@optimizer", "models": [""], "class_name": "AdamW", "built": True, "variables": ["a/kernel"],
            "excluded_from_weight_decay": ["a/kernel"], "excluded_names": "bias",
        }
    ],
    "constants": [{"name": "@constant/0/0", "dtype": "int32", "shape": [4]}],
    "custom": ["mine>Layer"],
    "stored": [
        {"object": "a", "hook": "variables", "key": "0", "tensor": "a/kernel", "dtype": "float32", "shape": [2, 3]},
        {
            "object": "a", "hook": "assets", "key": "sub/words.txt", "tensor": "a/@assets/sub/words.txt",
            "dtype": "uint8", "shape": [7],
        },
    ],
}  # fmt: skip
STRUCTURE: Any = {
    "objects": [
        {
            "kind": "functional", "class": CLASS, "name": "model", "held": [], "found_at": [], "built": True,
            "path": "model", "parent_path": "", "policy": CONFIG, "nodes": [0, 1], "operations": [1], "config": {},
            "inputs": [{"$tensor": [0, 0]}], "outputs": {"$dict": [["out", {"$tensor": [1, 0]}]]},
        },
        {
            "kind": "sequential", "class": CLASS, "name": "s", "held": [[0, [["operation", 0]]]], "found_at": [],
            "layers": [0], "shape": {"$tuple": [None, 2]}, "inner_names": ["functional", None, ""],
        },
        {
            "kind": "object", "class": CLASS, "name": None, "found_at": [0], "config": CONFIG, "policy": "float32",
            "held": [[0, [["attribute", "x"], ["index", 1], ["key", "k"]]], [0, [["key", 1], ["member", "m"]]]],
            "built": False, "path": None, "parent_path": None, "build_config": {"input_shape": 1}, "no_config": "why",
            "compile_arguments": {}, "seeds": {"features": 7},
        },
    ],
    "nodes": [
        {"operation": 1, "call": 0, "input": True},
        {
            "operation": 1, "call": 1, "model": 1, "position": 0, "kwargs": {"$dict": [["training", True]]},
            "args": {
                "$tuple": [
                    {"$tensor": [0, 0]}, {"$variable": "a/kernel"}, {"$constant": ["numpy", "@constant/1/0"]},
                    {"$keras": {"class_name": "__slice__", "config": {"start": None}}}, [1, {"$float": "nan"}],
                ]
            },
        },
    ],
    "steps": [["make", 1], ["find", 2], ["call", 1]],
}  # fmt: skip
TRAINING: Any = {
    "models": [
        {"model": 0, "optimizer": 0, "config": CONFIG, "omitted": [[["loss", 0], {"delta": 0.5}]]},
        {
            "model": 1, "optimizer": 1, "given": 0, "omitted": [],
            "config": {"loss": {"$object": 0}, "metrics": [{"$shared": 0}, {"$shared": 0}]},
        },
    ],
    "optimizers": [CONFIG, {**CLASS, "config": {"inner_optimizer": {"$optimizer": 0}}}, "made_by_another"],
    "shared": [CONFIG],
}  # fmt: skip
DOCUMENTS = {"manifest": MANIFEST, "structure": STRUCTURE, "training": TRAINING}


def read(name: str, value: Any) -> None:
    """Reads one document as `load` does, beside two others that are right."""
    if name == "manifest":
        manifest.Manifest.from_json(strict_json.dumps(value))
    else:
        table, training = (value, TRAINING) if name == "structure" else (STRUCTURE, value)
        shape.check(table, training, objects=3, optimizers=3, path="file")


def shape_fault(name: str, value: Any) -> str | None:
    try:
        read(name, value)
    except FormatError as error:
        return str(error) if error.what in SHAPE_FAULTS else None
    return None


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, but for those inside encoded values."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*above, key)
        if key not in ("config", "build_config", "args", "kwargs", "optimizers") or above == ():
            yield from places(item, (*above, key))


def keys_in(value: Any) -> Iterator[str]:
    for key, item in value.items() if isinstance(value, dict) else ():
        yield key
        yield from keys_in(item)
    for item in value if isinstance(value, list) else ():
        yield from keys_in(item)


def changed(document: Any, place: tuple[Any, ...], act: Callable[[Any, Any], None]) -> Any:
    copied = copy.deepcopy(document)
    owner = copied
    for key in place[:-1]:
        owner = owner[key]
    act(owner, place[-1])
    return copied


def mutants(document: Any) -> Iterator[tuple[str, Any]]:
    """The document with one thing changed: a value of another kind, a key or item gone, a key too many."""
    for place in places(document):
        for wrong in (None, True, 0.5, "text", [None], {"key": 1}):

            def put(owner: Any, key: Any, wrong: Any = wrong) -> None:
                owner[key] = wrong

            yield f"{place} = {wrong!r}", changed(document, place, put)

        def drop(owner: Any, key: Any) -> None:
            del owner[key]

        yield f"{place} gone", changed(document, place, drop)

        def add(owner: Any, key: Any) -> None:
            if isinstance(owner[key], dict):
                owner[key]["extra"] = 1

        yield f"{place} with another key", changed(document, place, add)
    yield "another key", {**document, "extra": 1}


# --- the schemas themselves ------------------------------------------------------------------------


@pytest.mark.parametrize("name", KEYS)
def test_the_schema_is_a_json_schema_and_says_which_version_it_describes(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"].endswith("2020-12/schema")
    assert SCHEMAS[name]["$id"] == f"urn:tiedio:{name}:{manifest.FORMAT}"


def test_there_are_schemas_for_every_readable_format() -> None:
    found = {file.name for file in (resources.files("tiedio") / "schema").iterdir()}
    assert found == {f"{name}-{version}.json" for name in KEYS for version in manifest.READABLE_FORMATS}


RECORDS = {
    ("manifest", None): manifest.Manifest,
    ("manifest", "root"): manifest.Root,
    ("manifest", "object"): manifest.Object,
    ("manifest", "slot"): manifest.Slot,
    ("manifest", "view"): views.View,
    ("manifest", "variable"): manifest.Variable,
    ("manifest", "optimizer"): manifest.Optimizer,
    ("manifest", "constant"): manifest.TensorSpec,
    ("manifest", "stored"): manifest.Stored,
    ("structure", None): shape.Table,
    ("structure", "class"): shape.ClassName,
    ("structure", "object"): shape.Entry,
    ("structure", "node"): shape.NodeRecord,
    ("training", None): shape.TrainingRecord,
    ("training", "model"): shape.CompiledModel,
}


@pytest.mark.parametrize(("name", "part"), RECORDS)
def test_the_schema_has_the_keys_of_the_record_and_no_other(name: str, part: str | None) -> None:
    schema = SCHEMAS[name] if part is None else SCHEMAS[name]["$defs"][part]
    fields = dataclasses.fields(RECORDS[name, part])
    nothing = dataclasses.MISSING
    required = {f.name for f in fields if f.default is nothing and f.default_factory is nothing}
    # The class of an object is checked as a record of its own.
    extra = {"class"} if part == "object" and name == "structure" else set()
    assert set(schema["properties"]) == {f.name for f in fields} | extra
    assert set(schema["required"]) == required | extra
    assert schema["additionalProperties"] is False


def test_what_stands_in_several_schemas_is_the_same_in_all() -> None:
    for part in ("key", "float", "bytes"):
        assert SCHEMAS["manifest"]["$defs"][part] == SCHEMAS["structure"]["$defs"][part]
    training = copy.deepcopy(SCHEMAS["training"]["$defs"]["config"])
    for key in ("$optimizer", "$shared"):  # lists that only the training record has
        del training["properties"][key], training["dependentSchemas"][key]
    config = copy.deepcopy(SCHEMAS["structure"]["$defs"]["config"])
    del config["properties"]["$variable"], config["dependentSchemas"]["$variable"]  # only constructors take one
    assert config == training
    # A regularizer or constraint refers to no object of the structure.
    del config["properties"]["$object"], config["dependentSchemas"]["$object"]
    assert config == SCHEMAS["manifest"]["$defs"]["config"]


def test_the_schema_knows_the_dtypes_that_can_be_stored() -> None:
    assert SCHEMAS["manifest"]["$defs"]["dtype"]["enum"] == list(manifest.SAFETENSORS_CODES)


@pytest.mark.parametrize("name", KEYS)
def test_every_key_of_the_schema_is_in_the_document_for_mutations_and_in_the_description(name: str) -> None:
    schema = SCHEMAS[name]
    records = [schema, *(part for key, part in schema["$defs"].items() if key != "key")]
    keys = {key for record in records for key in record.get("properties", {})}
    assert keys - set(keys_in(DOCUMENTS)) == set()
    page = (Path(__file__).parents[1] / "docs" / "format.md").read_text(encoding="utf-8")
    assert [key for key in sorted(keys) if f"`{key}`" not in page and f'`{{"{key}":' not in page] == []


# --- what is written, and what is refused ----------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        "two_convs_with_different_padding_share_kernel_and_bias",
        "siamese_network_calls_one_lstm_on_two_inputs",
        "tied_autoencoder_by_a_layer_that_refers_to_the_first",
        "convolution_op_whose_kernel_and_bias_are_outputs_of_layers",
        "a_layer_repeated_in_a_sequential_model",
        "a_layer_in_a_sub_model_and_outside_it",
        "the_forward_layer_of_a_bidirectional_is_used_outside_too",
        "one_variable_in_attributes_lists_tuples_dicts_and_nests",
        "a_live_variable_goes_into_an_op_as_keywords",
        "subclassed_model_with_two_call_arguments",
        "subclassed_functional_model_tied_after_construction",
        "functional_model_with_several_inputs_and_outputs_by_name",
        "different_regularizers_on_both_sides",
        "variables_are_excluded_from_weight_decay_by_name",
        "lambda_layer_between_two_tied_layers",
        "roots_with_odd_names",
        "deferred_sequential_model_built_by_build_and_not_compiled",
        "tied_model_trained_with_sgd_with_nesterov_momentum_and_a_schedule",
        "a_layer_with_saving_hooks_of_its_own_called_twice",
        "an_adapted_text_vectorization_before_tied_layers",
        "a_serializable_layer_that_takes_a_variable",
    ],
)
def test_what_save_writes_is_valid(case: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tiedio.save(zoo.build_case(case).model, path, check=False)
    written = documents_of(path)
    assert [fault for name in KEYS for fault in faults(name, written[name])] == []


@pytest.mark.parametrize("name", KEYS)
def test_the_documents_for_mutations_are_right(name: str) -> None:
    assert faults(name, DOCUMENTS[name]) == []
    read(name, DOCUMENTS[name])


@pytest.mark.parametrize("name", KEYS)
def test_the_schema_refuses_every_shape_that_the_reader_refuses(name: str) -> None:
    refused = 0
    for change, mutant in mutants(DOCUMENTS[name]):
        fault = shape_fault(name, mutant)
        refused += fault is not None
        assert fault is None or not VALIDATORS[name].is_valid(mutant), f"{change}: only the reader says {fault}"
    assert refused > 50


def view_in(document: Any, slot: int) -> Any:
    return document["variables"][0]["slots"][slot]["view"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("manifest", lambda d: d["variables"][0].update(dtype="string")),
        ("manifest", lambda d: d["variables"][0].update(shape=[-1])),
        ("manifest", lambda d: d["variables"][0].update(slots=[])),
        ("manifest", lambda d: d["variables"][0]["slots"][1].update(view={"transpose": [1, 0]})),
        ("manifest", lambda d: d["variables"][0]["slots"][1].update(view={"name": "conjugate"})),
        ("manifest", lambda d: view_in(d, 2).pop("axes")),
        ("manifest", lambda d: view_in(d, 2).update(axes=[0, 0])),
        ("manifest", lambda d: view_in(d, 2).update(axes=[0, -1])),
        ("manifest", lambda d: view_in(d, 2).update(axes=[0])),
        ("manifest", lambda d: view_in(d, 2).update(shape=[3, 2])),
        ("manifest", lambda d: view_in(d, 2).update(start=[0, 0])),
        ("manifest", lambda d: view_in(d, 3).update(axes=[1, 0])),
        ("manifest", lambda d: view_in(d, 3).update(start=[0, 0])),
        ("manifest", lambda d: view_in(d, 3).update(shape=[3, -1])),
        ("manifest", lambda d: view_in(d, 4).update(axes=[1, 0])),
        ("manifest", lambda d: view_in(d, 4).update(shape=[2, -1])),
        ("manifest", lambda d: view_in(d, 4).update(start=[0, -1])),
        ("manifest", lambda d: view_in(d, 4).update(start=[])),
        ("manifest", lambda d: view_in(d, 4).pop("shape")),
        ("manifest", lambda d: view_in(d, 4).pop("start")),
        ("manifest", lambda d: view_in(d, 4).update(step=[1, 1])),
        ("manifest", lambda d: d.update(format=1)),
        ("manifest", lambda d: d.update(format=3)),
        ("manifest", lambda d: d["stored"][0].update(hook="other")),
        ("manifest", lambda d: d["objects"][0]["orders"].update(weights=[])),
        ("structure", lambda d: d["objects"][0].update(kind="other")),
        ("structure", lambda d: d["objects"][0].pop("inputs")),
        ("structure", lambda d: d["objects"][1].pop("shape")),
        ("structure", lambda d: d["objects"][1]["inner_names"].pop()),
        ("structure", lambda d: d["objects"][2].pop("policy")),
        ("structure", lambda d: d["objects"][2].pop("built")),
        ("structure", lambda d: d["objects"][2]["held"][0][1].append(["call", 0])),
        ("structure", lambda d: d["objects"][2].update(config={"$nope": 1})),
        ("structure", lambda d: d["objects"][2].update(config={"$tuple": [], "b": 2})),
        ("structure", lambda d: d["objects"][2].update(config={"$float": "1"})),
        ("structure", lambda d: d["objects"][2].update(config={"$numpy": ["float64", "1"]})),
        ("structure", lambda d: d["objects"][2].update(config={"$numpy": ["int64", "1.0"]})),
        ("structure", lambda d: d["objects"][2].update(config={"$bytes": "A*=="})),
        ("structure", lambda d: d["objects"][2].update(config={"$dict": [[[1], 2]]})),
        ("structure", lambda d: d["objects"][2].update(config={"$dict": [[1, 2, 3]]})),
        ("structure", lambda d: d["objects"][2].update(config={"x": {"$tensor": [0, 0]}})),
        ("structure", lambda d: d["nodes"][1].update(args={"$constant": ["list", "@constant/1/0"]})),
        ("structure", lambda d: d["nodes"][1].update(args={"plain": 1})),
        ("structure", lambda d: d["nodes"][1].pop("kwargs")),
        ("structure", lambda d: d["steps"].append(["drop", 1])),
        ("training", lambda d: d["models"][0].update(config=[])),
        ("training", lambda d: d["models"][0].update(omitted=[{"delta": 0.5}])),
        ("training", lambda d: d["models"][0].update(optimizer=-1)),
    ],
)
def test_the_schema_refuses(name: str, change: Callable[[Any], Any]) -> None:
    document = copy.deepcopy(DOCUMENTS[name])
    change(document)
    assert faults(name, document) != []


@pytest.mark.parametrize(("source", "view"), [((2, 3), tiedio.transpose()), ((1, 1), tiedio.reshape(()))])
def test_a_view_as_the_manifest_writes_it_is_valid(source: tuple[int, ...], view: tiedio.View) -> None:
    document = copy.deepcopy(MANIFEST)
    document["variables"][0].update(shape=list(source))
    document["stored"][0].update(shape=list(source))
    document["variables"][0]["slots"][2:] = [{"path": "c/kernel", "view": records.encode(view.resolved(source))}]
    assert faults("manifest", document) == []
    assert manifest.Manifest.from_json(strict_json.dumps(document)).ties[0].views == (None, None, view.resolved(source))


# --- the file around them --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Header:
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    tiedio.save(zoo.build_case("tied_model_trained_with_adam").model, path)
    return read_header(path)


def test_the_file_has_five_metadata_keys_and_data_that_starts_on_a_page(header: Header) -> None:
    assert set(header.metadata) == {DIGESTS_KEY, FORMAT_KEY, *KEYS.values()}
    assert header.metadata[FORMAT_KEY] == str(manifest.FORMAT)
    assert header.data_start % 4096 == 0


def test_tensors_stand_by_alignment_and_then_by_name(header: Header) -> None:
    def rank(name: str) -> tuple[int, str]:
        size = header.entries[name].stop - header.entries[name].start
        return (-max(power for power in (1, 2, 4, 8, 16, 32, 64) if size % power == 0), name)

    assert list(header.entries) == sorted(header.entries, key=rank)
    assert all(entry.start % -rank(name)[0] == 0 for name, entry in header.entries.items())


def test_the_texts_are_compact_and_leave_out_what_equals_its_default(header: Header) -> None:
    for key in KEYS.values():
        text = header.metadata[key]
        assert text == json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    kernel = json.loads(header.metadata[MANIFEST_KEY])["variables"][0]
    assert set(kernel) == {"slots", "shape", "dtype", "name", "path"}


def test_a_model_saved_twice_and_saved_again_after_loading_gives_the_same_bytes(tmp_path: Path) -> None:
    model = zoo.build_case("roots_with_odd_names").model
    files = [tmp_path / f"{i}.safetensors" for i in range(3)]
    tiedio.save(model, files[0])
    tiedio.save(model, files[1])
    tiedio.save(tiedio.load(files[0]), files[2])
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
