"""What a header says is read, and what is to be said is written, in the one way that there is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import safetensors

from tiedio.container import header as header_module
from tiedio.container.header import (
    ITEM_BITS,
    PAGE,
    Entry,
    Header,
    build_header,
    parse_header,
    read_header,
)
from tiedio.errors import ModelError

Forge: TypeAlias = Callable[..., Path]

WHOLE_BYTES = sorted(dtype for dtype, bits in ITEM_BITS.items() if bits % 8 == 0)


def field(dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# What is read.


def test_metadata_and_tensors_are_read_in_the_order_of_their_data(forge: Forge) -> None:
    header = {
        "late": field("F32", [1], [6, 10]),
        "__metadata__": {"who": "ünï"},
        "empty": field("F64", [3, 0], [2, 2]),
        "first": field("I8", [2, 1], [0, 2]),
        "scalar": field("BF16", [2], [2, 6]),
    }
    path = forge(header, bytes(10))
    read = read_header(path)
    assert read.metadata == {"who": "ünï"}
    assert list(read.entries) == ["first", "empty", "scalar", "late"]
    assert read.entries["first"] == Entry("first", "I8", (2, 1), 0, 2)
    assert read.entries["empty"] == Entry("empty", "F64", (3, 0), 2, 2)
    assert read.data_start == path.stat().st_size - 10
    assert read.file_size == path.stat().st_size


def test_a_file_without_tensors_and_metadata_is_valid(forge: Forge) -> None:
    read = read_header(forge("{}"))
    assert read == Header({}, {}, 10, 10)


@pytest.mark.parametrize("dtype", WHOLE_BYTES)
def test_every_dtype_of_whole_bytes_is_read_as_safetensors_reads_it(forge: Forge, dtype: str) -> None:
    size = 6 * ITEM_BITS[dtype] // 8
    path = forge({"a": field(dtype, [2, 3], [0, size])}, bytes(size))
    assert read_header(path).entries["a"].dtype == dtype
    [(name, tensor)] = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    assert (name, tensor["dtype"], tensor["shape"]) == ("a", dtype, [2, 3])


def test_names_are_not_judged_here(forge: Forge) -> None:
    names = ["", "../../x", "/", "a\u0000b", "a\nb", "😀", "__metadata"]
    header = {name: field("U8", [1], [i, i + 1]) for i, name in enumerate(names)}
    assert list(read_header(forge(header, bytes(len(names)))).entries) == names


# What is written.


def test_data_starts_on_a_page_whatever_the_length_of_the_header() -> None:
    for extra in [*range(4000, 4100), 8200, 100_000]:
        head = build_header([Entry("a", "U8", (4,), 0, 4)], {"k": "v" * extra})
        assert len(head) % PAGE == 0
        assert parse_header(head, len(head) + 4).metadata["k"] == "v" * extra
        unpadded = len(head.rstrip(b" "))
        assert 0 <= len(head) - unpadded < PAGE


def test_the_header_is_compact_json_with_sorted_metadata_and_tensors_by_data() -> None:
    entries = [Entry("z", "F32", (2, 1), 0, 8), Entry("a", "U8", (), 8, 9)]
    head = build_header(entries, {"b": "2", "a": "ü"})
    assert head[8:].rstrip(b" ").decode() == (
        '{"__metadata__":{"a":"ü","b":"2"},'
        '"z":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},'
        '"a":{"dtype":"U8","shape":[],"data_offsets":[8,9]}}'
    )
    assert build_header(entries, {"a": "ü", "b": "2"}) == head
    assert list(parse_header(head, len(head) + 9).entries.values()) == entries


def test_without_metadata_there_is_no_metadata_key() -> None:
    assert build_header([], {})[8:].rstrip(b" ") == b"{}"


UNWRITABLE: dict[str, tuple[list[Any], dict[Any, Any]]] = {
    "a name twice": ([Entry("a", "U8", (1,), 0, 1), Entry("a", "U8", (1,), 1, 2)], {}),
    "a reserved name": ([Entry("__metadata__", "U8", (1,), 0, 1)], {}),
    "a reserved name and metadata": ([Entry("__metadata__", "U8", (1,), 0, 1)], {"a": "b"}),
    "a name that is no text": ([Entry(3, "U8", (1,), 0, 1)], {}),  # type: ignore[arg-type]
    "a hole": ([Entry("a", "U8", (1,), 1, 2)], {}),
    "the wrong order": ([Entry("a", "U8", (1,), 1, 2), Entry("b", "U8", (1,), 0, 1)], {}),
    "a size that is not the shape's": ([Entry("a", "U8", (2,), 0, 1)], {}),
    "an unknown dtype": ([Entry("a", "V8", (1,), 0, 1)], {}),
    "a shape that is no plain integers": ([Entry("a", "U8", (1.0,), 0, 1)], {}),  # type: ignore[arg-type]
    "a lone surrogate in a name": ([Entry("\ud800", "U8", (1,), 0, 1)], {}),
    "a lone surrogate in metadata": ([], {"a": "\udfff"}),
    "metadata that is no text": ([], {"a": 1}),
    "a metadata key that is no text": ([], {1: "a"}),
    "metadata keys of several kinds": ([], {1: "a", "b": "c"}),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_a_header_is_not_built_that_has(case: str) -> None:
    entries, metadata = UNWRITABLE[case]
    with pytest.raises(ModelError, match="cannot hold") as caught:
        build_header(entries, metadata, "here.safetensors")
    assert caught.value.path == "here.safetensors"
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.remedy


def test_a_header_that_is_too_long_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "MAX_HEADER", 8192 - 8)
    assert len(build_header([], {"a": "b" * 8000})) == 8192  # the limit itself is allowed
    with pytest.raises(ModelError, match="expected at most 8184 bytes, found 12280 bytes"):
        build_header([], {"a": "b" * 8192})


def test_a_header_that_claims_huge_shapes_allocates_nothing(tmp_path: Path) -> None:
    entries = [Entry(f"t{i}", "F32", (2**20, 2**16), i * 2**38, (i + 1) * 2**38) for i in range(8)]
    head = build_header(entries, {})
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 2**41)  # a sparse file of two tebibytes
    tracemalloc.start()
    try:
        assert len(read_header(path).entries) == 8
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
        path.unlink()
