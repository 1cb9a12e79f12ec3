"""Views in a manifest: which stand there, and every one that is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tiedio import strict_json
from tiedio.errors import FormatError
from tiedio.manifest import FORMAT, READABLE_FORMATS, Manifest, Object, Root, Slot, Variable
from tiedio.views import NAMES, View

VERSIONS = {"tiedio": "0.1.0", "keras": "3", "backend": "b", "floatx": "float32", "image_data_format": "channels_last"}
VIEWS = {
    "c/kernel": View("transpose", axes=(1, 0)),
    "d/kernel": View("reshape", shape=(3, 1, 2)),
    "e/kernel": View("slice", start=(0, 1), shape=(2, 2)),
}
HOLD_IT = (Slot("a/kernel"), Slot("b/kernel"))
KERNEL = Variable((*HOLD_IT, *(Slot(p, v) for p, v in VIEWS.items())), (2, 3), "float32", "kernel", "a/kernel")
WHOLE = Manifest(FORMAT, VERSIONS, (Root(None, ""),), (Object("", "Functional", ("",)),), (KERNEL,))
DOCUMENT = json.loads(WHOLE.to_json())
SLOTS = "manifest.variables[0].slots"
KIND = "wrong kind of value"


def read(document: Any, where: str = "file") -> Manifest:
    return Manifest.from_json(strict_json.dumps(document), where)


def changed(change: Callable[[Any], Any]) -> Any:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return document


def slots_of(document: Any) -> list[Any]:
    found: list[Any] = document["variables"][0]["slots"]
    return found


def view_of(document: Any, name: str) -> Any:
    return next(slot["view"] for slot in slots_of(document) if slot.get("view", {}).get("name") == name)


def without_views() -> Any:
    return changed(lambda d: slots_of(d).__delitem__(slice(2, None)))


# --- versions --------------------------------------------------------------------------------------


def test_every_view_that_is_known_comes_back() -> None:
    assert {view.name for view in VIEWS.values()} == set(NAMES)
    assert read(DOCUMENT) == WHOLE


@pytest.mark.parametrize("version", [1, 2])
def test_a_view_is_unknown_to_a_version_without_views(version: int) -> None:
    with pytest.raises(FormatError) as caught:
        read({**DOCUMENT, "format": version})
    error = caught.value
    assert (error.what, error.path) == ("unknown view", "file: c/kernel")
    assert (error.expected, error.found) == (f"none: format {version} has no views", "'transpose'")
    assert error.remedy == "upgrade: pip install --upgrade tiedio"


@pytest.mark.parametrize("version", READABLE_FORMATS)
def test_a_view_of_null_is_no_view_in_any_version(version: int) -> None:
    document = without_views()
    document["variables"][0]["slots"][1]["view"] = None
    document["variables"][0]["slots"][0]["view"] = None
    assert read({**document, "format": version}).variables[0].slots == HOLD_IT


@pytest.mark.parametrize("name", ["conjugate", "", "Transpose", "__class__", "x" * 500])
def test_an_unknown_view_says_to_upgrade(name: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(changed(lambda d: slots_of(d)[2].update(view={"name": name})))
    error = caught.value
    assert (error.what, error.path) == ("unknown view", "file: c/kernel")
    assert (error.expected, error.found) == ("one of transpose, reshape, slice", repr(name)[:60])
    assert error.remedy == "upgrade: pip install --upgrade tiedio"


# --- shape -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "what", "place"),
    [
        (lambda d: slots_of(d)[1].update(view={"transpose": [1, 0]}), "unknown key", f"{SLOTS}[1].view"),
        (lambda d: view_of(d, "transpose").update(step=[1]), "unknown key", f"{SLOTS}[2].view"),
        (lambda d: view_of(d, "slice").pop("name"), "missing key", f"{SLOTS}[4].view"),
        (lambda d: slots_of(d)[1].update(view="transpose"), KIND, f"{SLOTS}[1].view"),
        (lambda d: slots_of(d)[1].update(view=[1, 0]), KIND, f"{SLOTS}[1].view"),
        (lambda d: slots_of(d)[1].update(view=False), KIND, f"{SLOTS}[1].view"),
        (lambda d: view_of(d, "transpose").update(name=None), KIND, f"{SLOTS}[2].view.name"),
        (lambda d: view_of(d, "transpose").update(axes=None), KIND, f"{SLOTS}[2].view.axes"),
        (lambda d: view_of(d, "transpose").update(axes=1), KIND, f"{SLOTS}[2].view.axes"),
        (lambda d: view_of(d, "transpose").update(axes=[1.0, 0]), KIND, f"{SLOTS}[2].view.axes[0]"),
        (lambda d: view_of(d, "transpose").update(axes=[1, False]), KIND, f"{SLOTS}[2].view.axes[1]"),
        (lambda d: view_of(d, "reshape").update(shape="6"), KIND, f"{SLOTS}[3].view.shape"),
        (lambda d: view_of(d, "slice").update(start={}), KIND, f"{SLOTS}[4].view.start"),
        (lambda d: view_of(d, "slice").update(start=[None, 1]), KIND, f"{SLOTS}[4].view.start[0]"),
    ],
)
def test_a_view_with_another_shape_is_refused_with_its_place(
    change: Callable[[Any], Any], what: str, place: str
) -> None:
    with pytest.raises(FormatError) as caught:
        read(changed(change))
    assert (caught.value.what, caught.value.path) == (what, f"file: {place}")


# --- contradictions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("transpose", {"axes": []}, "does not fit its variable"),
        ("transpose", {"axes": [-1, 0]}, "does not fit its variable"),
        ("transpose", {"axes": [1, 1]}, "does not fit its variable"),
        ("transpose", {"axes": [1, 0, 2]}, "does not fit its variable"),
        ("transpose", {"axes": [0, 1]}, "is the variable itself"),
        ("transpose", {"shape": [3, 2]}, "does not fit its variable"),
        ("transpose", {"start": [0, 0]}, "does not fit its variable"),
        ("transpose", {"axes": list(range(100))}, "does not fit its variable"),
        ("reshape", {"shape": [-1, 2]}, "does not fit its variable"),
        ("reshape", {"shape": [5]}, "does not fit its variable"),
        ("reshape", {"shape": []}, "does not fit its variable"),
        ("reshape", {"shape": [-3, -2]}, "does not fit its variable"),
        ("reshape", {"shape": [2, 3]}, "is the variable itself"),
        ("reshape", {"axes": [1, 0]}, "does not fit its variable"),
        ("reshape", {"start": [0]}, "does not fit its variable"),
        ("reshape", {"shape": [2**62] * 1000}, "does not fit its variable"),
        ("slice", {"shape": [2, -1]}, "does not fit its variable"),
        ("slice", {"start": [0, -1]}, "does not fit its variable"),
        ("slice", {"start": [0]}, "does not fit its variable"),
        ("slice", {"start": [1, 1]}, "does not fit its variable"),
        ("slice", {"start": [0, 2**62]}, "does not fit its variable"),
        ("slice", {"start": [], "shape": []}, "does not fit its variable"),
        ("slice", {"start": [0, 0], "shape": [2, 3]}, "is the variable itself"),
        ("slice", {"axes": [0, 1]}, "does not fit its variable"),
    ],
)
def test_a_view_that_does_not_fit_or_says_nothing_is_refused(name: str, change: dict[str, Any], problem: str) -> None:
    path = next(slot for slot, view in VIEWS.items() if view.name == name)
    with pytest.raises(FormatError, match="contradicts itself") as caught:
        read(changed(lambda d: view_of(d, name).update(change)))
    assert caught.value.found == f"the view in {path!r} {problem}"


def test_a_canonical_slot_that_holds_a_view_is_refused() -> None:
    with pytest.raises(FormatError, match="contradicts itself") as caught:
        read(changed(lambda d: slots_of(d)[0].update(view={"name": "transpose", "axes": [1, 0]})))
    assert caught.value.found == "canonical slot 'a/kernel' holds a view"


def test_a_view_of_a_variable_of_a_thousand_axes_is_refused_and_not_computed() -> None:
    def change(document: Any) -> None:
        document["variables"][0]["shape"] = [2**62] * 1000

    with pytest.raises(FormatError, match="contradicts itself") as caught:
        read(changed(change))
    assert str(caught.value.found).count("does not fit its variable") == len(VIEWS)
