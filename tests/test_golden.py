"""Files that were written once load for ever: same ties, same bytes, same outputs."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import tiedio
from tiedio import slots
from tiedio.container.header import read_header
from tiedio.inspection import MANIFEST_KEY, STRUCTURE_KEY, TRAINING_KEY
from tiedio.manifest import READABLE_FORMATS
from tiedio.views import NAMES

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).with_name("golden")
FILES = sorted(FOLDER.glob("*/*.safetensors"))
LARGEST = 40_000
# Another processor, or another version of the backend, may round otherwise in the last place.
TOLERANCE = 1e-6
STEPS = {"bfloat16": 2**-7, "float16": 2**-10}
# No model makes these: they belong to float8 scales and to distribution, Keras writes bytes in a way of its own, and
# the formats before 3 have no views.
NOT_IN_A_MODEL = {"overwrite_with_gradient", "synchronization", "$bytes"}
WITHOUT_VIEWS = (1, 2)
DIGESTS_SINCE = 4


def _maker() -> Any:
    """The module that wrote the files; it has the classes that they name."""
    spec = importlib.util.spec_from_file_location("golden_make", Path(__file__).with_name("golden_make.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_make"] = module
    spec.loader.exec_module(module)
    return module


golden_make = _maker()


def facts(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return found


@cache
def same_of(name: str) -> Any:
    return golden_make.GOLDEN[name]().same


def tolerance_of(model: Any) -> float:
    """How far outputs may be off: another processor may round the sums of a narrow dtype elsewhere."""
    roots = list(model.values()) if isinstance(model, dict) else [model]
    dtypes = {layer.compute_dtype for root in roots for layer in root._flatten_layers()}
    return max([TOLERANCE, *(step for dtype, step in STEPS.items() if dtype in dtypes)])


def named(path: Path) -> str:
    return f"{path.parent.name} {path.stem}"


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_golden_file_loads_with_its_ties_its_bytes_and_its_outputs(path: Path, tmp_path: Path) -> None:
    expected = facts(path)
    model = tiedio.load(path)

    groups = same_of(path.stem)(model)
    assert all(one is other for group in groups for one, other in pairwise(group))
    assert groups
    walk = slots.walk(model if isinstance(model, dict) else {None: model})
    held = {slot.path: slot.variable for slot in walk.slots}
    for tie in expected["ties"]:
        assert all(held[other] is held[tie[0]] for other in tie)
    assert [list(tie.slots) for tie in tiedio.find_ties(model)] == expected["ties"]
    assert golden_make.views_of([walk.slots]) == expected.get("views", {})
    for slot in walk.slots:
        if slot.view is not None:
            assert np.array_equal(slot.live.value, slot.view.apply(np.asarray(slot.variable.value)))
    assert [list(found.paths) for found in walk.objects if len(found.paths) > 1] == expected["shared_objects"]

    # Before the model is called, which may move on a seed generator.
    again = tmp_path / "again.safetensors"
    tiedio.save(model, again)
    assert golden_make.facts_of(again) == expected["tensors"]

    tolerance = tolerance_of(model)
    outputs = golden_make.outputs_of(model, golden_make.map_inputs(expected["inputs"], golden_make.array_of))
    for output, record in zip(outputs, expected["outputs"], strict=True):
        np.testing.assert_allclose(output, golden_make.array_of(record), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_golden_file_is_as_it_was_written(path: Path) -> None:
    expected = facts(path)
    assert golden_make.facts_of(path) == expected["tensors"]
    manifest = tiedio.inspect(path)
    assert manifest.format == expected["format"] == int(path.parent.name)
    assert [list(tie.slots) for tie in manifest.ties] == expected["ties"]
    assert golden_make.views_of(variable.slots for variable in manifest.variables) == expected.get("views", {})
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_golden_file_is_verified_if_its_format_has_digests(path: Path) -> None:
    if int(path.parent.name) >= DIGESTS_SINCE:
        tiedio.verify(path)
        return
    for read in (tiedio.verify, partial(tiedio.load, verify=True)):
        with pytest.raises(tiedio.FormatError, match=r"holds no digests.*save it again") as caught:
            read(path)
        assert not isinstance(caught.value, tiedio.DamagedError)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_golden_file_is_valid_by_the_schemas_of_its_format(path: Path) -> None:
    header = read_header(path)
    for name, key in (("manifest", MANIFEST_KEY), ("structure", STRUCTURE_KEY), ("training", TRAINING_KEY)):
        schema = json.loads((ROOT / f"tiedio/schema/{name}-{path.parent.name}.json").read_text(encoding="utf-8"))
        assert list(Draft202012Validator(schema).iter_errors(json.loads(header.metadata[key]))) == []


def test_there_are_golden_files_of_every_readable_format_and_of_no_other() -> None:
    assert sorted(int(folder.name) for folder in FOLDER.iterdir()) == sorted(READABLE_FORMATS)


def test_every_view_is_in_a_golden_file() -> None:
    views = [view for path in FILES for view in facts(path).get("views", {}).values()]
    assert {view["name"] for view in views} == set(NAMES)
    assert [path for path in FILES if facts(path).get("views") and int(path.parent.name) in WITHOUT_VIEWS] == []


OF_FORMAT_1 = [
    "frozen_side", "node_argument", "odd_places", "repeated_layer", "several_roots", "sgd_momentum",
    "siamese_lstm", "subclassed", "tied_autoencoder", "two_convs",
]  # fmt: skip


OF_FORMAT_2 = [*OF_FORMAT_1, "loss_scale", "own_compile", "own_hooks"]
OF_FORMAT_3 = [*OF_FORMAT_2, "constructor_arguments", "three_slots", "view_autoencoder", "views_of_one_matrix"]


@pytest.mark.parametrize(("version", "names"), [(1, OF_FORMAT_1), (2, OF_FORMAT_2), (3, OF_FORMAT_3), (4, OF_FORMAT_3)])
def test_every_golden_file_is_there(version: int, names: list[str]) -> None:
    assert sorted(path.stem for path in FILES if path.parent.name == str(version)) == sorted(names)


@pytest.mark.parametrize("version", READABLE_FORMATS)
def test_the_golden_files_have_every_key_of_their_format_between_them(version: int) -> None:
    missing = set()
    for name, key in (("manifest", MANIFEST_KEY), ("structure", STRUCTURE_KEY), ("training", TRAINING_KEY)):
        schema = json.loads((ROOT / f"tiedio/schema/{name}-{version}.json").read_text(encoding="utf-8"))
        records = [schema, *(part for part in schema["$defs"].values())]
        keys = {key for record in records for key in record.get("properties", {})}
        texts = [read_header(path).metadata[key] for path in FILES if path.parent.name == str(version)]
        if name != "structure":  # what a config can hold is the same everywhere
            keys = {key for key in keys if not key.startswith("$")}
        missing |= {key for key in keys if not any(f'"{key}":' in text for text in texts)}
    assert missing == NOT_IN_A_MODEL | ({"view"} if version in WITHOUT_VIEWS else set())


def test_a_golden_file_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    for name in golden_make.GOLDEN:
        (tmp_path / f"{name}.safetensors").write_bytes(b"old")
    assert list(golden_make.make(tmp_path, overwrite=False)) == []
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"old"}


def test_the_writer_of_golden_files_gives_the_same_bytes_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden_make, "GOLDEN", {"odd_places": golden_make.odd_places})
    (first,) = list(golden_make.make(tmp_path / "1", overwrite=False))
    (second,) = list(golden_make.make(tmp_path / "2", overwrite=False))
    assert first.read_bytes() == second.read_bytes()
    assert facts(first) == facts(second)
