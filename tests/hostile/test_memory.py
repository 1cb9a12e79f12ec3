"""What a text takes is known before it is parsed: what is counted is never less than what is measured."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiedio
from tests.hostile.good import good
from tests.hostile.texts import NASTY
from tiedio import strict_json
from tiedio.allowance import Allowance, header_size, parsed_size
from tiedio.container import strict_json as header_json
from tiedio.container.digests import blank
from tiedio.container.header import Entry, build_header, parse_header, read_header
from tiedio.errors import FormatError, LimitError
from tiedio.inspection import DIGESTS_KEY, MANIFEST_KEY, STRUCTURE_KEY, manifest_of
from tiedio.limits import Limits
from tiedio.manifest import Manifest

SIZES = (3_000, 60_000)


def peak_of(call: Callable[[], Any]) -> int:
    """Bytes of Python's own that a call takes at most, above what there was; what it returns counts."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        try:
            kept = call()
        except FormatError as error:
            kept = error
        peak = tracemalloc.get_traced_memory()[1] - before
        del kept
    finally:
        tracemalloc.stop()
    return peak


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NASTY)
def test_a_text_takes_no_more_than_is_counted(name: str, size: int) -> None:
    text = NASTY[name](size)
    assert text
    taken = peak_of(lambda: strict_json.loads(text, "here"))
    assert taken <= parsed_size(text) <= parsed_size(text, quick=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NASTY)
def test_a_header_takes_no_more_than_is_counted(name: str, size: int) -> None:
    text = NASTY[name](size)
    for raw in (f'{{"a":{text}}}', json.dumps({"__metadata__": {"m": text}}, ensure_ascii=False)):
        content = raw.encode()
        assert peak_of(lambda content=content: header_json.loads(content)) <= header_size(content)  # type: ignore[misc]


def test_a_header_with_all_its_records_takes_no_more_than_is_counted() -> None:
    entry = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    text = "{" + ",".join(f'"{n:x}":{entry}' for n in range(3_000)) + "}"
    head = len(text).to_bytes(8, "little") + text.encode()
    taken = peak_of(lambda: parse_header(head, len(head)))
    assert taken <= len(text) + header_size(text.encode())


def test_a_manifest_takes_no_more_than_is_counted() -> None:
    document = json.loads(good().parts.metadata[MANIFEST_KEY])
    plain = {"shape": [2], "dtype": "float32", "name": "n", "path": "p"}
    document["variables"] += [{"slots": [{"path": f"x{n}"}, {"path": f"y{n}"}], **plain} for n in range(3_000)]
    document["objects"] += [{"path": f"o{n}", "class_name": "C", "paths": [f"o{n}", f"p{n}"]} for n in range(3_000)]
    text = strict_json.dumps(document)
    allowance = Allowance(memory=64 << 20)
    taken = peak_of(lambda: Manifest.from_json(text, "here", allowance))
    assert taken <= parsed_size(text)
    # What stays is counted too, since structure and training record come on top of it.
    assert peak_of(lambda: None) < 10_000 < allowance.taken < parsed_size(text)


def test_what_is_too_large_is_refused_before_it_is_parsed() -> None:
    text = NASTY["empty arrays"](3_000_000)
    allowance = Allowance.of(None, len(text))

    def refused() -> None:
        with pytest.raises(LimitError, match=r"more memory.*limits=tiedio.Limits\(memory=") as caught:
            strict_json.loads(text, "here", allowance)
        assert caught.value.path == "here"

    assert peak_of(refused) < 100_000


def test_texts_that_live_at_one_time_share_one_allowance() -> None:
    text = NASTY["empty arrays"](300_000)
    allowance = Allowance(memory=1.5 * parsed_size(text))
    assert strict_json.loads(text, "here", allowance)
    with pytest.raises(LimitError):
        strict_json.loads(text, "here", allowance)


def test_brackets_that_are_escaped_are_counted_when_they_come_out() -> None:
    inner = "[" + "[],".replace("[", "\\u005b").replace("]", "\\u005d") * 900_000 + "1]"
    text = f'{{"__metadata__":{{"{MANIFEST_KEY}":"{inner}","tiedio.format":"4"}}}}'
    head = len(text).to_bytes(8, "little") + text.encode()
    header = parse_header(head, len(head))  # a text without brackets is small
    with pytest.raises(LimitError, match="more memory"):
        manifest_of(header, "here")


def test_whoever_trusts_a_file_raises_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    document = good().parts.document("manifest")
    document["variables"][0]["regularizer"] = [[]] * 1_000_000
    path.write_bytes(good().parts.with_text("manifest", strict_json.dumps(document)).built())
    for call in (tiedio.inspect, tiedio.verify):
        with pytest.raises(LimitError, match=r"found up to \d+ bytes") as caught:
            call(path)
        assert caught.value.remedy is not None
        said = int(caught.value.remedy.partition("memory=")[2].rstrip(")").replace("_", ""))
        call(path, limits=Limits(memory=said))
        call(path, limits=Limits.off())


def test_whoever_trusts_a_file_lets_it_nest_deeper(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    document = good().parts.document("manifest")
    for _ in range(300):
        document["variables"][0]["regularizer"] = [document["variables"][0].get("regularizer")]
    path.write_bytes(good().parts.with_text("manifest", strict_json.dumps(document)).built())
    with pytest.raises(LimitError, match=r"nests too deep.*limits=tiedio.Limits\(depth="):
        tiedio.inspect(path)
    assert tiedio.inspect(path, limits=Limits(depth=500)).variables


def test_what_save_writes_takes_a_small_part_of_what_is_allowed() -> None:
    folder = Path(__file__).parents[1] / "golden"
    files = sorted(folder.rglob("*.safetensors"))
    assert files
    for path in files:
        header = read_header(path)
        manifest_of(header, str(path))
        text = header.metadata[STRUCTURE_KEY]
        assert header.allowance.taken + parsed_size(text) < header.allowance.memory / 3


@pytest.mark.parametrize(("variables", "slots"), [(10_000, 2), (10_000, 10)])
def test_a_large_model_of_small_weights_is_within_the_limits(variables: int, slots: int) -> None:
    parts = good().parts
    document = parts.document("manifest")
    facts = {"shape": [8], "dtype": "float32", "name": "part"}
    document["variables"] = [
        {"slots": [{"path": f"layer_{s}/parts/{n}"} for s in range(slots)], **facts, "path": f"layer_0/part_{n}"}
        for n in range(variables)
    ]
    document["objects"] = document["objects"][:1]
    document["objects"][0]["orders"] = {"variables": [f"layer_0/parts/{n}" for n in range(variables)]}
    document["optimizers"] = []
    entries = [Entry(f"layer_0/parts/{n}", "F32", (8,), 32 * n, 32 * n + 32) for n in range(variables)]
    metadata = {**parts.metadata, MANIFEST_KEY: strict_json.dumps(document), DIGESTS_KEY: blank(variables)}
    head = build_header(entries, metadata)
    header = parse_header(head, len(head) + 32 * variables)
    assert len(manifest_of(header, "here").ties) == variables


def test_a_header_that_we_write_is_not_refused_whatever_its_size() -> None:
    assert build_header([], {"note": "[],\\" * 5_000_000})
