"""A configuration that an attacker wrote makes nothing, calls nothing and reads nothing, and the error says why."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import keras_hub  # noqa: F401 - the attacks on its classes find it imported
import pytest

import tiedio
from tests.hostile.configurations import ATTACKS, LAMBDA, Attack, argument, both, function, serialized, whole
from tests.hostile.editing import write_edited
from tests.hostile.good import Parts
from tests.hostile.watching import suspicious, watched
from tiedio import keras_api
from tiedio.errors import TiedioError, UnregisteredError, UnsafeError
from tiedio.structure.audit import Rules, audit_file, audit_object


def build() -> keras.Model:
    inputs = keras.Input((3,), name="given")
    hidden = keras.layers.Dense(3, name="dense")(inputs)
    hidden = keras.layers.Dropout(0.5, seed=3, name="drop")(hidden)
    return keras.Model(inputs, keras.layers.Activation("tanh", name="other")(hidden), name="model")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model of three layers."""
    model = build()
    model.compile("sgd", "mse", metrics=["mae"])
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    tiedio.save(model, path)
    tiedio.load(path)  # what is imported at the first load is no event of an attack
    return path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "hostile.safetensors"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_is_refused_by_load(attack: Attack, good: Path, path: Path) -> None:
    write_edited(path, good, attack.change)
    events, error = watched(lambda: tiedio.load(path))
    assert isinstance(error, attack.error), repr(error)
    assert isinstance(error, TiedioError)
    text = str(error)
    assert len(text) < 4_000
    with pytest.raises(type(error), match=attack.says):
        raise error
    assert suspicious(events, str(path)) == []


@pytest.mark.parametrize("attack", ATTACKS[::7], ids=lambda attack: attack.name)
def test_does_nothing_where_nothing_is_made(attack: Attack, good: Path, path: Path) -> None:
    write_edited(path, good, attack.change)
    model = build()
    before = [value.tobytes() for value in model.get_weights()]
    for call in (
        lambda: tiedio.inspect(path),
        lambda: tiedio.verify(path),
        lambda: tiedio.load_weights(model, path, strict=False, optimizer=False),
    ):
        events, error = watched(call)
        assert error is None or isinstance(error, TiedioError)
        assert suspicious(events, str(path)) == []
    stored = [value.tobytes() for value in tiedio.load(good).get_weights()]
    assert [value.tobytes() for value in model.get_weights()] in (before, stored)


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.unsafe], ids=lambda attack: attack.name)
def test_is_refused_by_keras_too(attack: Attack, good: Path, path: Path) -> None:
    """`safe_mode` refuses at least what Keras's refuses: here are the cases that Keras lets pass without it."""
    write_edited(path, good, attack.change)
    with pytest.raises(UnsafeError, match="safe_mode=False"):
        tiedio.load(path, safe_mode=True)


# --- parse, audit, construct --------------------------------------------------------------------------


def test_nothing_is_made_called_or_imported_before_all_of_the_file_has_passed(
    good: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last thing in the file is what is wrong with it; everything before it is as it was."""
    write_edited(path, good, lambda d: d["training"]["models"][0]["config"].update(loss=function("os", "system")))
    done: list[str] = []

    def forbid(where: Any, name: str) -> None:
        original = getattr(where, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(where, name, noted)

    forbid(importlib, "import_module")
    forbid(keras_api, "deserialize")
    forbid(keras_api.Operation, "__init__")
    forbid(keras.Variable, "__init__")
    forbid(keras.initializers.GlorotUniform, "from_config")
    forbid(keras.optimizers.SGD, "from_config")
    with pytest.raises(UnregisteredError, match="system"):
        tiedio.load(path)
    assert done == []
    tiedio.load(good)
    assert {"deserialize", "__init__", "from_config"} <= set(done)


def test_no_module_that_a_file_names_is_imported(good: Path, path: Path) -> None:
    for module in (
        "antigravity",
        "this",
        "keras.src.saving.antigravity",
        "tensorflow.antigravity",
        "keras_hub.nowhere",
    ):
        write_edited(path, good, argument("activation", serialized(module, "Thing", {})))
        loaded = set(sys.modules)
        with pytest.raises(UnregisteredError, match="Thing"):
            tiedio.load(path)
        assert {
            name for name in set(sys.modules) - loaded if name.partition(".")[0] not in ("keras", "tensorflow")
        } == set()


def test_keras_hub_is_imported_only_once_all_else_has_passed(
    good: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = serialized("keras_hub", "Tokenizer", {}, "keras_hub>Tokenizer")
    imported: list[str] = []

    def import_module(name: str) -> None:
        imported.append(name)
        raise ImportError("stop here")

    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.delitem(sys.modules, "keras_hub")
    monkeypatch.setattr(keras.saving, "get_registered_object", lambda name, custom_objects: None)
    write_edited(path, good, whole(tokenizer))
    with pytest.raises(tiedio.RebuildError, match="ImportError: stop here"):
        tiedio.load(path)
    assert imported == ["keras_hub"]
    for wrong in (argument("vocabulary", "/etc/passwd"), argument("sizes", [2**50]), argument("sampler", LAMBDA)):
        write_edited(path, good, both(whole(tokenizer), wrong))
        with pytest.raises(TiedioError):
            tiedio.load(path)
    assert imported == ["keras_hub"]


def test_what_keras_hub_names_is_known_to_the_rebuild_once_it_is_imported(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was said of its names before that is no longer so, also where an object is looked at once more."""
    hub, document = sys.modules["keras_hub"], Parts.of(good.read_bytes())
    tokenizer = {"module": "keras_hub", "class_name": "Tokenizer", "registered_name": None}
    structure, training = document.document("structure"), document.document("training")
    manifest = tiedio.inspect(good)
    entry = next(one for one in structure["objects"] if one["name"] == "dense")
    entry.update({"class": tokenizer, "config": {"name": "dense"}})
    rules = Rules.of(manifest, {}, True, tiedio.Limits().for_file(10_000))
    monkeypatch.delitem(sys.modules, "keras_hub")
    monkeypatch.setattr(importlib, "import_module", lambda name: sys.modules.update({name: hub}))
    monkeypatch.setitem(vars(hub), "Tokenizer", hub.tokenizers.Tokenizer)
    audit_file(structure, training, manifest, rules, "the file")
    assert rules.class_of(tokenizer) is hub.tokenizers.Tokenizer
    audit_object({**entry, "found_at": [0]}, "dense", rules)


def test_all_that_is_wrong_is_told_at_once(good: Path, path: Path) -> None:
    change = both(
        argument("activation", function("os", "system")),
        argument("kernel_initializer", serialized("evil", "Thing", {}, "evil>Thing")),
        whole(serialized("evil", "Layer", {}, "evil>Layer"), "other"),
        lambda d: d["manifest"]["variables"][1].update(constraint=serialized("evil", "Wall", {}, "evil>Wall")),
        lambda d: d["training"]["models"][0]["config"].update(loss=serialized("evil", "Loss", {}, "evil>Loss")),
    )
    write_edited(path, good, change)
    with pytest.raises(UnregisteredError) as caught:
        tiedio.load(path)
    assert caught.value.found == "evil>Layer, evil>Loss, evil>Thing, evil>Wall, system"
    write_edited(path, good, both(change, argument("bias_initializer", LAMBDA)))
    with pytest.raises(UnsafeError) as unsafe:
        tiedio.load(path)
    for name in ("Python code (a lambda) in 'dense'", "evil>Layer", "evil>Loss", "evil>Thing", "evil>Wall", "system"):
        assert name in str(unsafe.value)


def test_what_a_class_makes_itself_is_judged_too(good: Path, path: Path) -> None:
    """The policy of an object that its owner makes was revived unseen: format 1 to 4, before the audit saw it."""

    def change(document: Any) -> None:
        entries = document["structure"]["objects"]
        found = next(entry for entry in entries if entry["found_at"])
        found.update(path="drop/seed", parent_path="drop", built=True, policy=function("keras.utils", "get_file"))

    write_edited(path, good, change)
    with pytest.raises(UnregisteredError, match="get_file"):
        tiedio.load(path)


def test_a_custom_object_of_the_caller_may_be_anything(good: Path, path: Path) -> None:
    def twice(x: Any) -> Any:
        return 2 * x

    write_edited(path, good, argument("activation", function("builtins", "mine>twice")))
    with pytest.raises(UnregisteredError, match="mine>twice"):
        tiedio.load(path)
    loaded = tiedio.load(path, custom_objects={"mine>twice": twice})
    assert loaded.get_layer("dense").activation is twice


def test_what_only_the_backend_refuses_is_told_by_an_error_of_the_library(path: Path) -> None:
    """Found by the fuzzer: TensorFlow has errors of its own, which derive from nothing that others raise."""
    model = build()
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    tiedio.save(model, path)

    def scaled_by_text(document: Any) -> None:
        (inner,) = document["training"]["optimizers"]
        arguments = {"inner_optimizer": inner, "initial_scale": "x"}
        document["training"]["optimizers"] = [serialized("keras.optimizers", "LossScaleOptimizer", arguments)]

    write_edited(path.with_name("edited.safetensors"), path, scaled_by_text)
    with pytest.raises(tiedio.RebuildError, match=r"UnimplementedError.*compile=False"):
        tiedio.load(path.with_name("edited.safetensors"))


def test_limits_can_be_raised_by_the_caller(good: Path, path: Path) -> None:
    auc = serialized("keras.metrics", "AUC", {"num_thresholds": 150_000})
    write_edited(path, good, lambda d: d["training"]["models"][0]["config"].update(metrics=[auc]))
    with pytest.raises(tiedio.LimitError, match=r"limits=tiedio\.Limits\(integer=\.\.\.\)"):
        tiedio.load(path)
    for limits in (tiedio.Limits(integer=1 << 24), tiedio.Limits.off()):
        assert tiedio.load(path, limits=limits).compiled
