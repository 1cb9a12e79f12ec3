"""Before anything is made, every class and function is looked up; what is unknown, or code, is refused at once."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import pytest

import tiedio
from tiedio.errors import FormatError, LimitError, TiedioError, UnregisteredError, UnsafeError
from tiedio.limits import Limits
from tiedio.manifest import Manifest, Object
from tiedio.structure.audit import Rules, audit_file

FILE = "model.safetensors"
NOTHING = Manifest(4, {}, (), (), ())
UNTRAINED: dict[str, Any] = {"models": [], "optimizers": []}


class Mine(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x


def named(module: Any, class_name: str, config: Any = None, registered: Any = None) -> dict[str, Any]:
    return {
        "module": module,
        "class_name": class_name,
        "config": {} if config is None else config,
        "registered_name": registered,
    }


def function(module: str, name: str) -> dict[str, Any]:
    return named(module, "function", name, name)


def audit(record: Any, custom_objects: Mapping[str, Any], safe_mode: bool, path: str) -> None:
    """Audits parts of a configuration."""
    rules = Rules(custom_objects, safe_mode, Limits().for_file(0))
    audit_file({"objects": [], "nodes": []}, {**UNTRAINED, "shared": [record]}, NOTHING, rules, path)


def class_of(reference: Mapping[str, Any], custom_objects: Mapping[str, Any]) -> Any:
    return Rules(custom_objects, True, Limits.off()).class_of(reference)


def audit_objects(*configs: dict[str, Any], custom_objects: Mapping[str, Any] | None = None, **more: Any) -> None:
    """Audits objects of a table."""
    entries = [
        {"class": {k: c[k] for k in ("module", "class_name", "registered_name")}, "config": c["config"]}
        | {"kind": "object", "found_at": [], "held": []}
        | more
        for c in configs
    ]
    rules = Rules(custom_objects or {}, True, Limits().for_file(0))
    names = [str(c["config"].get("name")) for c in configs]
    objects = tuple(Object(name, "X", ()) for name in names)
    audit_file({"objects": entries, "nodes": []}, UNTRAINED, dataclasses.replace(NOTHING, objects=objects), rules, FILE)


DENSE = named("keras.layers", "Dense", {"units": 3, "name": "d"})
ADAM = named("keras.optimizers", "Adam", {"name": "d"})
UNKNOWN = named("evil", "Thing", {"name": "thing"}, "Custom>Thing")
LAMBDA = named("builtins", "__lambda__", {"code": "", "defaults": None, "closure": None})

WRAPPED: dict[str, Callable[[Any], Any]] = {
    "itself": lambda x: x,
    "in a list": lambda x: [1, [x]],
    "in a dict": lambda x: {"a": {"b": x}},
    "in a tuple": lambda x: {"$tuple": [x]},
    "as the value of a pair": lambda x: {"$dict": [["k", x]]},
    "as the key of a pair": lambda x: {"$dict": [[{"$tuple": [x]}, 1]]},
    "as a pair of an ordered dict": lambda x: {"$ordered": [["k", x]]},
    "in another config": lambda x: named("keras.losses", "Huber", {"reduction": x}),
    "in an argument": lambda x: {"$keras": x},
}


def as_pairs(config: dict[str, Any]) -> dict[str, Any]:
    """The same config, written with the encoding's own way of writing a dict: it revives to the same dict."""
    return {"$dict": [[key, item] for key, item in config.items()]}


def as_ordered(config: dict[str, Any]) -> dict[str, Any]:
    """The same config, written as an ordered dict."""
    return {"$ordered": [[key, item] for key, item in config.items()]}


# --- what is known ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "known",
    [
        named("keras", "DTypePolicy", {"name": "float32"}),
        named("keras.losses", "Huber"),
        named("keras.metrics", "AUC"),
        named("keras.initializers", "GlorotUniform"),
        named("keras.optimizers", "Adam"),
        function("builtins", "relu"),
        function("keras.activations", "relu"),
        named("builtins", "__numpy__", {"value": [1], "dtype": "int64"}),
    ],
    ids=lambda config: str(config["config"] if config["class_name"] == "function" else config["class_name"]),
)
def test_what_keras_exports_for_models_is_known(known: dict[str, Any]) -> None:
    for wrap in WRAPPED.values():
        audit({"structure": wrap(known)}, {}, True, FILE)


def test_layers_and_operations_of_keras_are_known() -> None:
    audit_objects(
        DENSE,
        named("keras", "Sequential"),
        named("keras.src.ops.numpy", "Add"),
        named("keras.src.models.functional", "Functional"),
        kind="functional",
    )


def test_what_keras_serializes_is_known() -> None:
    things = [
        *keras.layers.Dense(1, activation="gelu", kernel_regularizer="l2", dtype="mixed_float16").get_config().values(),
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1.0, 9)),
        keras.losses.Huber(),
        keras.metrics.AUC(),
        keras.losses.mean_squared_error,
        keras.activations.softmax,
    ]
    audit({"x": keras.saving.serialize_keras_object(things)}, {}, True, FILE)


@pytest.mark.parametrize("name", ["Mine", "Custom>Mine", "anything"])
def test_what_the_caller_passes_is_known_by_its_registered_name(name: str) -> None:
    reference = named("somewhere", "Other", {}, name)
    audit({"x": reference}, {name: Mine}, True, FILE)
    assert class_of(reference, {name: Mine}) is Mine
    with pytest.raises(UnregisteredError):
        audit({"x": reference}, {"Else": Mine}, True, FILE)


def test_what_is_registered_with_keras_is_known() -> None:
    @keras.saving.register_keras_serializable("pack")
    class Registered(keras.layers.Layer):
        pass

    reference = named("somewhere", "Registered", {}, "pack>Registered")
    audit({"x": reference}, {}, True, FILE)
    assert class_of(reference, {}) is Registered
    assert class_of(named("somewhere", "Registered", {}, "other>Registered"), {}) is None


def test_a_custom_object_scope_counts() -> None:
    with keras.saving.custom_object_scope({"Mine": Mine}):
        audit({"x": named("somewhere", "Mine", {}, "Mine")}, {}, True, FILE)


# --- what is not ------------------------------------------------------------------------------------------


def test_an_unknown_class_is_found_wherever_it_stands() -> None:
    for place, wrap in WRAPPED.items():
        with pytest.raises(UnregisteredError) as caught:
            audit({"x": wrap(UNKNOWN)}, {}, True, FILE)
        assert caught.value.found == "Custom>Thing", place


def test_a_lambda_is_found_wherever_it_stands() -> None:
    for wrap in WRAPPED.values():
        with pytest.raises(UnsafeError, match="lambda"):
            audit({"x": wrap(LAMBDA)}, {}, True, FILE)
        audit({"x": wrap(LAMBDA)}, {}, False, FILE)


@pytest.mark.parametrize("write", [as_pairs, as_ordered])
@pytest.mark.parametrize(
    "config", [UNKNOWN, LAMBDA, function("keras.utils", "get_file")], ids=["class", "lambda", "function"]
)
def test_a_config_that_is_written_as_pairs_is_no_way_around(config: dict[str, Any], write: Any) -> None:
    with pytest.raises((UnregisteredError, UnsafeError)):
        audit({"x": write(config)}, {}, True, FILE)


def test_all_unknown_names_are_told_once_and_in_order() -> None:
    others = [named("m", name, {}, f"Custom>{name}") for name in ("B", "A", "B")]
    with pytest.raises(UnregisteredError) as caught:
        audit({"x": others, "y": [UNKNOWN, named(None, "NoName"), function("m", "f")]}, {}, True, FILE)
    error = caught.value
    assert error.found == "Custom>A, Custom>B, Custom>Thing, None.NoName, f"
    assert error.path == FILE
    assert "5 " in error.what
    assert "custom_objects" in str(error.remedy)


def test_one_unknown_name_is_told_in_the_singular() -> None:
    with pytest.raises(UnregisteredError) as caught:
        audit({"x": UNKNOWN}, {}, True, FILE)
    assert caught.value.what == "a class or function is not known here"


def test_lambdas_are_told_by_the_layers_that_hold_them() -> None:
    layers = [named("keras.layers", "Lambda", {"name": name, "function": LAMBDA}) for name in ("b", "a")]
    with pytest.raises(UnsafeError) as caught:
        audit_objects(*layers)
    assert caught.value.found == "Python code (a lambda) in 'a', Python code (a lambda) in 'b'"


@pytest.mark.parametrize(
    "gadget",
    [
        named("os", "system"),
        named("builtins", "eval"),
        named("subprocess", "Popen"),
        named("keras.src.utils.file_utils", "get_file"),
        named("keras.src.saving.saving_lib", "H5IOStore"),
        named("keras.utils", "get_file"),
        function("os", "system"),
        function("builtins", "eval"),
        function("keras.utils", "get_file"),
        function("keras.saving", "load_model"),
        function("keras.config", "enable_unsafe_deserialization"),
        function("keras.config", "set_floatx"),
        function("keras.utils", "set_random_seed"),
        function("keras.src.backend.config", "set_floatx"),
        function("keras.ops.numpy", "__import__"),
        named("keras.layers.os", "system"),
        named("keras.src.activations.activations", "types"),
    ],
    ids=lambda g: f"{g['module']}.{g['config'] if g['class_name'] == 'function' else g['class_name']}",
)
def test_what_only_a_python_module_holds_is_unknown(gadget: dict[str, Any]) -> None:
    with pytest.raises(UnregisteredError):
        audit({"x": gadget}, {}, True, FILE)
    with pytest.raises(UnregisteredError):
        audit({"x": {**gadget, "registered_name": None}}, {}, False, FILE)


def test_a_name_that_the_caller_passes_does_not_make_another_function_known() -> None:
    with pytest.raises(UnregisteredError):
        audit({"x": {**function("os", "system"), "registered_name": "Mine"}}, {"Mine": Mine}, True, FILE)


@pytest.mark.parametrize("spec", ["system", "Popen"])
def test_a_type_spec_of_another_module_is_unknown(spec: str) -> None:
    config: dict[str, Any] = {
        "class_name": "__typespec__",
        "spec_name": spec,
        "module": "os",
        "config": [],
        "registered_name": None,
    }
    with pytest.raises(TiedioError):
        audit({"x": config}, {}, True, FILE)


def test_no_module_that_a_file_names_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    (tmp_path / "keras_evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("evil", "evil.keras", "keras_evil", ".evil", "keras/../evil"):
        with pytest.raises(UnregisteredError):
            audit({"x": named(module, "Thing")}, {}, True, FILE)
    assert not {"evil", "keras_evil"} & set(sys.modules)


def test_a_module_that_does_not_exist_is_unknown_and_no_other_error() -> None:
    for module in ("keras.", "keras..layers", "keras.src.nowhere", "keras.layers\0", "keras_hub.x", "k" * 10_000, ""):
        with pytest.raises(UnregisteredError):
            audit({"x": named(module, "Dense")}, {}, True, FILE)


def test_a_structure_that_nests_too_deep_is_refused() -> None:
    deep: Any = ADAM
    for _ in range(100_000):
        deep = [deep]
    dense = named("keras.layers", "Dense", {"name": "d", "units": deep})
    with pytest.raises(LimitError, match="more than 200 levels") as caught:
        audit_objects(dense)
    assert caught.value.path == FILE
    assert "limits=tiedio.Limits(depth=...)" in str(caught.value)


def test_a_dict_that_revives_nothing_is_no_name() -> None:
    audit({"x": [{"class_name": "Dense"}, {"class_name": 3}, {"config": {}}, {"module": "os"}]}, {}, True, FILE)


def test_a_name_of_a_class_that_is_no_text_is_refused() -> None:
    with pytest.raises(FormatError, match="3 for the name of a class"):
        audit({"x": {"class_name": 3, "config": {}, "registered_name": "mine>Thing"}}, {}, True, FILE)


# --- through load -----------------------------------------------------------------------------------------


def edited(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    tiedio.save(model, path)
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    structure = json.loads(header["__metadata__"]["tiedio.structure"])
    change(next(entry for entry in structure["objects"] if entry["name"] == "dense"))
    header["__metadata__"]["tiedio.structure"] = json.dumps(structure)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
    return path


@pytest.mark.parametrize("write", [dict, as_pairs, as_ordered], ids=["plainly", "as pairs", "in order"])
@pytest.mark.parametrize(
    "gadget",
    [function("keras.config", "set_floatx"), function("keras.utils", "set_random_seed"), function("os", "system")],
    ids=lambda g: str(g["config"]),
)
def test_a_file_cannot_call_what_does_not_compute(tmp_path: Path, gadget: dict[str, Any], write: Any) -> None:
    path = edited(tmp_path / FILE, lambda entry: entry["config"].update(activation=write(gadget)))
    with pytest.raises(UnregisteredError, match=gadget["config"]):
        tiedio.load(path)


@pytest.mark.parametrize("write", [dict, as_pairs, as_ordered], ids=["plainly", "as pairs", "in order"])
def test_a_file_cannot_bring_code_in_safe_mode(tmp_path: Path, write: Any) -> None:
    path = edited(tmp_path / FILE, lambda entry: entry["config"].update(activation=write(LAMBDA)))
    with pytest.raises(UnsafeError):
        tiedio.load(path)


@pytest.mark.parametrize("key", ["config", "build_config"])
def test_a_file_cannot_switch_safe_mode_off(tmp_path: Path, key: str) -> None:
    path = edited(tmp_path / FILE, lambda entry: entry[key].update(safe_mode=False, bias_initializer=LAMBDA))
    with pytest.raises(UnsafeError):
        tiedio.load(path)
