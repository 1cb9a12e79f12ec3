"""The manifest: JSON both ways, ties derived from slots, and every contradiction refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiedio import strict_json
from tiedio.errors import FormatError
from tiedio.manifest import (
    FORMAT,
    READABLE_FORMATS,
    SAFETENSORS_CODES,
    Manifest,
    Object,
    Optimizer,
    Root,
    Slot,
    Stored,
    TensorSpec,
    Tie,
    Variable,
)
from tiedio.slots import escape
from tiedio.views import View

VERSIONS = {"tiedio": "0.1.0", "keras": "3", "backend": "b", "floatx": "float32", "image_data_format": "channels_last"}
VIEWS = {
    "c/kernel": View("transpose", axes=(1, 0)),
    "d/kernel": View("reshape", shape=(3, 1, 2)),
    "e/kernel": View("slice", start=(0, 1), shape=(2, 2)),
}
KERNEL_SLOTS = (Slot("a/kernel"), Slot("b/kernel"), *(Slot(path, view) for path, view in VIEWS.items()))
KERNEL = Variable(KERNEL_SLOTS, (2, 3), "float32", "kernel", "a/kernel")
BIAS = Variable((Slot("a/bias"),), (3,), "float32", "bias", "a/bias", trainable=False)
MOMENTUM = Variable((Slot("@optimizer/momentums/a/kernel"),), (2, 3), "float32", "m", "sgd/m", created_trainable=False)
KIND = "wrong kind of value"
WHOLE = Manifest(
    format=FORMAT,
    versions=VERSIONS,
    roots=(Root("one", ""), Root("two", "a")),
    objects=(
        Object("", "Functional", ("",), True, {"layers": ("a", "b")}),
        Object("a", "Dense", ("a", "b/source"), False, {"trainable_variables": ("a/kernel",)}),
        Object("b", "Dense", ("b",), orders={"non_trainable_variables": ("a/bias",)}),
    ),
    variables=(KERNEL, BIAS, MOMENTUM),
    optimizers=(Optimizer("@optimizer", ("",), "SGD", True, ("a/kernel",), ("a/kernel",), "bias"),),
    constants=(TensorSpec("@constant/0", "int32", (4,)),),
    custom=("mine>Layer",),
    stored=(
        Stored("a", "variables", "0", "a/kernel", "float32", (2, 3)),
        Stored("b", "assets", "sub/words.txt", "b/@assets/sub/words.txt", "uint8", (7,)),
        Stored("@optimizer", "variables", "notes", "@optimizer/@own_variables/notes", "float64", (2,)),
    ),
)
DOCUMENT = json.loads(WHOLE.to_json())


def read(document: Any, where: str = "file") -> Manifest:
    return Manifest.from_json(strict_json.dumps(document), where)


def changed(change: Callable[[Any], Any]) -> Any:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return document


def slots_of(document: Any, n: int) -> list[Any]:
    found: list[Any] = document["variables"][n]["slots"]
    return found


def without_views() -> Any:
    return changed(lambda d: slots_of(d, 0).__delitem__(slice(2, None)))


# --- what it says ----------------------------------------------------------------------------------


def test_a_manifest_comes_back() -> None:
    assert Manifest.from_json(WHOLE.to_json()) == WHOLE
    assert read(DOCUMENT).to_json() == WHOLE.to_json()


TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
CONFIGS = st.none() | st.dictionaries(TEXTS, st.integers(-9, 9) | TEXTS, max_size=2)
FACTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "shape": st.lists(st.integers(0, 9), max_size=3).map(tuple),
        "dtype": st.sampled_from(sorted(SAFETENSORS_CODES)),
        "name": TEXTS,
        "path": TEXTS,
        "trainable": st.booleans(),
        "created_trainable": st.booleans(),
        "autocast": st.booleans(),
        "aggregation": st.sampled_from(["none", "sum", "mean", "only_first_replica"]),
        "synchronization": st.sampled_from(["none", "auto", "on_read", "on_write"]),
        "overwrite_with_gradient": st.booleans(),
        "regularizer": CONFIGS,
        "constraint": CONFIGS,
    }
)


def view_for(shape: tuple[int, ...]) -> View:
    """A view that fits the shape and is not the identity."""
    if len(shape) > 1:
        return View("transpose", axes=tuple(reversed(range(len(shape)))))
    if shape and shape[0]:
        return View("slice", start=(1,), shape=(shape[0] - 1,))
    return View("reshape", shape=(*shape, 1))


@given(st.lists(TEXTS.map(escape), unique=True, min_size=1, max_size=8), st.data())
def test_any_variables_come_back_and_those_with_several_slots_are_ties(paths: list[str], data: st.DataObject) -> None:
    groups: list[list[str]] = [[paths[0]]]
    for path in paths[1:]:
        if data.draw(st.booleans()):
            groups.append([path])
        else:
            groups[-1].append(path)
    facts = [data.draw(FACTS) for _ in groups]
    views = [
        [None, *(data.draw(st.none() | st.just(view_for(one["shape"]))) for _ in group[1:])]
        for group, one in zip(groups, facts, strict=True)
    ]
    variables = tuple(
        Variable(slots=tuple(map(Slot, group, held)), **one)
        for group, held, one in zip(groups, views, facts, strict=True)
    )
    manifest = Manifest(3, VERSIONS, (Root(None, ""),), (Object("", "Model", ("",)),), variables)
    found = Manifest.from_json(manifest.to_json())
    assert found == manifest
    assert [list(tie.slots) for tie in found.ties] == [group for group in groups if len(group) > 1]
    told = [held if any(held) else [] for group, held in zip(groups, views, strict=True) if len(group) > 1]
    assert [list(tie.views) for tie in found.ties] == told
    assert [tensor.name for tensor in found.tensors] == [group[0] for group in groups]


def test_ties_shared_objects_and_tensors_are_derived() -> None:
    slots = ("a/kernel", "b/kernel", "c/kernel", "d/kernel", "e/kernel")
    assert WHOLE.ties == (Tie("a/kernel", slots, (2, 3), "float32", (None, None, *VIEWS.values())),)
    plain = dataclasses.replace(WHOLE, variables=(dataclasses.replace(KERNEL, slots=KERNEL_SLOTS[:2]), BIAS))
    assert plain.ties == (Tie("a/kernel", slots[:2], (2, 3), "float32", ()),)
    assert WHOLE.shared_objects == (WHOLE.objects[1],)
    assert WHOLE.tensors == (
        TensorSpec("a/kernel", "float32", (2, 3)),
        TensorSpec("a/bias", "float32", (3,)),
        TensorSpec("@optimizer/momentums/a/kernel", "float32", (2, 3)),
        TensorSpec("@constant/0", "int32", (4,)),
        TensorSpec("b/@assets/sub/words.txt", "uint8", (7,)),
        TensorSpec("@optimizer/@own_variables/notes", "float64", (2,)),
    )


def test_what_equals_its_default_is_not_written() -> None:
    assert DOCUMENT["variables"][0] == {
        "slots": [
            {"path": "a/kernel"}, {"path": "b/kernel"},
            {"path": "c/kernel", "view": {"name": "transpose", "axes": [1, 0]}},
            {"path": "d/kernel", "view": {"name": "reshape", "shape": [3, 1, 2]}},
            {"path": "e/kernel", "view": {"name": "slice", "shape": [2, 2], "start": [0, 1]}},
        ],
        "shape": [2, 3], "dtype": "float32", "name": "kernel", "path": "a/kernel",
    }  # fmt: skip
    small = Manifest(1, VERSIONS, (Root(None, ""),), (Object("", "Model", ("",)),), ())
    assert set(json.loads(small.to_json())) == {"format", "versions", "roots", "objects", "variables"}


def test_the_written_format_can_be_read() -> None:
    assert FORMAT in READABLE_FORMATS
    assert max(READABLE_FORMATS) == FORMAT


# --- versions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "what", "remedy"),
    [
        (FORMAT + 1, "newer format", "upgrade"),
        (10**6, "newer format", "upgrade"),
        (0, "version is unknown", "save the model again"),
        (-1, "version is unknown", "save the model again"),
    ],
)
def test_another_version_is_refused_before_its_keys_are_looked_at(version: int, what: str, remedy: str) -> None:
    with pytest.raises(FormatError) as caught:
        read({"format": version, "what": "no version knows this key"})
    assert what in caught.value.what
    assert remedy in str(caught.value.remedy)
    assert (caught.value.expected, caught.value.found) == ("format 1, 2, 3, 4", f"format {version}")


def test_a_key_of_a_newer_version_is_unknown_to_an_older_one() -> None:
    with pytest.raises(FormatError, match="unknown key") as caught:
        read({**DOCUMENT, "format": 1})
    assert (caught.value.expected, caught.value.found) == ("only keys of format 1", "'stored'")
    old = {key: value for key, value in without_views().items() if key != "stored"}
    assert read({**old, "format": 1}).stored == ()


@pytest.mark.parametrize(
    ("position", "change", "problem"),
    [
        (0, {"object": "nowhere"}, "no object 'nowhere'"),
        (0, {"hook": "other"}, "unknown hook 'other'"),
        (0, {"shape": [3, 2]}, "differs from its variable 'a/kernel'"),
        (0, {"dtype": "float16"}, "differs from its variable 'a/kernel'"),
        (1, {"key": "../words.txt"}, "unsafe name"),
        (1, {"key": "/words.txt"}, "unsafe name"),
        (1, {"key": "sub//words.txt"}, "unsafe name"),
        (1, {"key": "C:words.txt"}, "unsafe name"),
        (1, {"key": "sub\\words.txt"}, "unsafe name"),
        (1, {"key": ""}, "unsafe name"),
        (1, {"key": "a\nb"}, "unsafe name"),
        (1, {"tensor": "@constant/0"}, "stands twice"),
        (1, {"shape": [-7]}, "negative size"),
        (2, {"object": "a", "key": "0"}, "key '0' of 'a' stands twice"),
    ],
)
def test_a_hook_that_contradicts_the_rest_is_refused(position: int, change: dict[str, Any], problem: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["stored"][position].update(change)
    with pytest.raises(FormatError) as caught:
        read(document)
    assert problem in str(caught.value.found)


@pytest.mark.parametrize("version", ["1", 1.0, True, None, [1]])
def test_a_version_that_is_no_integer_is_refused(version: Any) -> None:
    with pytest.raises(FormatError, match="no integer") as caught:
        read({**DOCUMENT, "format": version})
    assert caught.value.found == repr(version)


@pytest.mark.parametrize("document", [{}, [], None, 1, {"manifest": DOCUMENT}])
def test_a_text_without_a_version_is_no_manifest(document: Any) -> None:
    with pytest.raises(FormatError, match="no format version"):
        read(document)


# --- shape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what", "place"),
    [
        (lambda d: d.update(ties=[]), "unknown key", "manifest"),
        (lambda d: d["roots"][1].update(x=1), "unknown key", "manifest.roots[1]"),
        (lambda d: d["objects"][2].update(slots=[]), "unknown key", "manifest.objects[2]"),
        (lambda d: d["variables"][0].update(value=0), "unknown key", "manifest.variables[0]"),
        (lambda d: d["variables"][0]["slots"][1].update(axes=[1]), "unknown key", "manifest.variables[0].slots[1]"),
        (lambda d: d["optimizers"][0].update(state=0), "unknown key", "manifest.optimizers[0]"),
        (lambda d: d["constants"][0].update(x=0), "unknown key", "manifest.constants[0]"),
        (lambda d: d.pop("roots"), "missing key", "manifest"),
        (lambda d: d["variables"][1].pop("dtype"), "missing key", "manifest.variables[1]"),
        (lambda d: d["objects"][1].pop("paths"), "missing key", "manifest.objects[1]"),
        (lambda d: d["optimizers"][0].pop("built"), "missing key", "manifest.optimizers[0]"),
        (lambda d: d.update(custom="mine>Layer"), KIND, "manifest.custom"),
        (lambda d: d.update(versions={"keras": 3}), KIND, "manifest.versions.keras"),
        (lambda d: d["variables"][0].update(shape=[2, 3.0]), KIND, "manifest.variables[0].shape[1]"),
        (lambda d: d["variables"][0].update(shape=[True]), KIND, "manifest.variables[0].shape[0]"),
        (lambda d: d["variables"][0].update(trainable=1), KIND, "manifest.variables[0].trainable"),
        (lambda d: d["variables"].append([]), KIND, "manifest.variables[3]"),
        (lambda d: d["objects"][0].update(orders={"layers": "a"}), KIND, "manifest.objects[0].orders.layers"),
        (lambda d: d["roots"][0].update(name=0), KIND, "manifest.roots[0].name"),
    ],
)  # fmt: skip
def test_a_record_with_another_shape_is_refused_with_its_place(
    change: Callable[[Any], Any], what: str, place: str
) -> None:
    with pytest.raises(FormatError) as caught:
        read(changed(change))
    assert (caught.value.what, caught.value.path) == (what, f"file: {place}")


# --- contradictions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: slots_of(d, 0).append({"path": "a/bias"}), "slot 'a/bias' holds two variables"),
        (lambda d: slots_of(d, 0).append({"path": "b/kernel"}), "slot 'b/kernel' holds two variables"),
        (lambda d: slots_of(d, 1).clear(), "variable 'a/bias' has no slot"),
        (lambda d: d["constants"].append(d["constants"][0]), "tensor '@constant/0' stands twice"),
        (lambda d: d["constants"][0].update(name="a/kernel"), "tensor 'a/kernel' stands twice"),
        (lambda d: d["variables"][0].update(shape=[2, -3]), "tensor 'a/kernel' has a negative size"),
        (lambda d: d["constants"][0].update(shape=[-1]), "tensor '@constant/0' has a negative size"),
        (lambda d: d["objects"].append(d["objects"][2]), "object 'b' stands twice"),
        (lambda d: d["objects"][2]["paths"].append("b/source"), "place 'b/source' holds two objects"),
        (lambda d: d["objects"][1]["paths"].append("a"), "place 'a' holds two objects"),
        (lambda d: d["objects"][1]["paths"].reverse(), "object 'a' is not first among its places"),
        (lambda d: d["objects"][1]["paths"].clear(), "object 'a' is not first among its places"),
        (lambda d: d["objects"][0]["orders"]["layers"].append("c"), "'' lists unknown 'c' in layers"),
        (
            lambda d: d["objects"][1]["orders"]["trainable_variables"].append("b/kernel"),
            "'a' lists unknown 'b/kernel' in trainable_variables",
        ),
        (lambda d: d["objects"][0]["orders"].update(metrics=["a/kernel"]), "'' lists unknown 'a/kernel' in metrics"),
        (lambda d: d["roots"][1].update(path="c"), "root 'c' is no object"),
        (lambda d: d["roots"][0].update(name=None), "the roots are not one model or several with names"),
        (lambda d: d["roots"].clear(), "the roots are not one model or several with names"),
        (lambda d: d["optimizers"][0].update(variables=["x"]), "optimizer '@optimizer' lists unknown 'x'"),
        (
            lambda d: d["optimizers"][0].update(excluded_from_weight_decay=["b/kernel"]),
            "optimizer '@optimizer' lists unknown 'b/kernel'",
        ),
        (lambda d: d["optimizers"][0].update(models=["c"]), "optimizer '@optimizer' is of no model 'c'"),
        (lambda d: d["versions"].pop("floatx"), "version of 'floatx' is missing"),
        (lambda d: d["versions"].pop("image_data_format"), "version of 'image_data_format' is missing"),
    ],
)
def test_a_contradiction_is_refused_and_named(change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(FormatError, match="contradicts itself") as caught:
        read(changed(change))
    assert message in str(caught.value.found)
    assert caught.value.path == "file"


def test_several_contradictions_are_told_at_once_but_not_without_end() -> None:
    document = copy.deepcopy(DOCUMENT)
    document["roots"] = [{"name": str(n), "path": f"missing {n}"} for n in range(30)]
    with pytest.raises(FormatError) as caught:
        read(document)
    assert len(re.findall(r"is no object", str(caught.value.found))) == 10
    assert str(caught.value.found).endswith("; …")


def test_a_text_that_is_not_strict_json_is_refused() -> None:
    with pytest.raises(FormatError, match="stands twice"):
        Manifest.from_json('{"format":1,"format":1}', "file")


def test_a_regularizer_that_nests_too_deep_is_refused() -> None:
    text = WHOLE.to_json().replace('"trainable":false', '"regularizer":' + "[" * 100_000 + "]" * 100_000, 1)
    with pytest.raises(FormatError, match="too deep"):
        Manifest.from_json(text, "file")
