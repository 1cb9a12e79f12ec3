"""Whatever a file claims, it is refused with an error that says what is wrong, where, and what to do."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tiedio.container.header import Entry, build_header, parse_header, read_header, span_of
from tiedio.container.strict_json import MAX_NUMBER
from tiedio.errors import FormatError, NoSuchFileError, PathError

Forge: TypeAlias = Callable[..., Path]


def one(dtype: str, shape: str, offsets: str) -> str:
    """Write a header of one tensor, for values that `json.dumps` would not write."""
    return f'{{"a": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}'


def field(dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def refused(path: Path, match: str) -> FormatError:
    with pytest.raises(FormatError, match=match) as caught:
        read_header(path)
    error = caught.value
    assert error.path == str(path)
    assert error.expected is not None
    assert error.found is not None
    assert error.remedy
    assert len(str(error)) < 1000
    return error


DEEP = 100_000
HOSTILE: dict[str, tuple[Any, bytes, str]] = {
    "not JSON": ("{nonsense}", b"", "not JSON"),
    "cut JSON": ('{"a": {"dtype"', b"", "not JSON"),
    "JSON with text behind it": ("{} {}", b"", "not JSON"),
    "JSON with a raw line break in a name": ('{"a\nb": {}}', b"", "not JSON"),
    "a list": ("[1, 2]", b"", "begins with '{'"),
    "a number": ("123", b"", "begins with '{'"),
    "spaces first": ("  {}", b"", "begins with '{'"),
    "a byte order mark": (b"\xef\xbb\xbf{}", b"", "begins with '{'"),
    "UTF-16": ("{}".encode("utf-16-le"), b"", "not JSON"),
    "not UTF-8": (b'{"\xff": {}}', b"", "not UTF-8"),
    "an encoded surrogate": (b'{"\xed\xa0\x80": {}}', b"", "not UTF-8"),
    "a name twice": (f'{{"a": {json.dumps(field())}, "a": {json.dumps(field())}}}', bytes(4), "twice.*'a'"),
    "a name twice, once escaped": (
        f'{{"a": {json.dumps(field())}, "\\u0061": {json.dumps(field())}}}', bytes(4), "twice.*'a'",
    ),
    "metadata twice": ('{"__metadata__": {}, "__metadata__": {}}', b"", "twice.*'__metadata__'"),
    "a metadata key twice": ('{"__metadata__": {"k": "1", "k": "2"}}', b"", "twice.*'k'"),
    "a field twice": (
        '{"a": {"dtype": "U8", "dtype": "I8", "shape": [4], "data_offsets": [0, 4]}}',
        bytes(4),
        "twice.*'dtype'",
    ),
    "NaN": (one("U8", "[NaN]", "[0, 4]"), bytes(4), "not an integer.*NaN"),
    "infinity": (one("U8", "[-Infinity]", "[0, 4]"), bytes(4), "-Infinity"),
    "a fraction": (one("U8", "[4.0]", "[0, 4]"), bytes(4), "not an integer.*4.0"),
    "an exponent": (one("U8", "[4e0]", "[0, 4]"), bytes(4), "not an integer"),
    "minus zero": (one("U8", "[-0]", "[0, 0]"), b"", "out of bounds.*-0"),
    "a negative side": ({"a": field("U8", [-4], [0, 4])}, bytes(4), "out of bounds.*-4"),
    "two negative sides": ({"a": field("U8", [-2, -2], [0, 4])}, bytes(4), "out of bounds.*-2"),
    "a negative offset": ({"a": field("U8", [4], [-4, 0])}, bytes(4), "out of bounds.*-4"),
    "a number above 2**53": ({"a": field("U8", [0, MAX_NUMBER + 1], [0, 0])}, b"", "out of bounds"),
    "a number of a million digits": ('{"a": ' + "9" * 1_000_000 + "}", b"", "out of bounds"),
    "a true side": ({"a": field("U8", [True], [0, 1])}, bytes(1), "not one"),
    "a false offset": ({"a": field("U8", [1], [False, 1])}, bytes(1), "not a range"),
    "a side as text": ({"a": field("U8", ["4"], [0, 4])}, bytes(4), "not one"),
    "a nested shape": ({"a": field("U8", [[4]], [0, 4])}, bytes(4), "not one"),
    "no list for a shape": ({"a": field("U8", 4, [0, 4])}, bytes(4), "not one"),
    "no shape at all": ({"a": field("U8", None, [0, 4])}, bytes(4), "not one"),
    "one offset": ({"a": field("U8", [4], [4])}, bytes(4), "not a range"),
    "three offsets": ({"a": field("U8", [4], [0, 4, 4])}, bytes(4), "not a range"),
    "offsets the wrong way round": ({"a": field("U8", [4], [4, 0])}, bytes(4), "not a range"),
    "offsets as an object": ({"a": field("U8", [4], {"0": 0})}, bytes(4), "not a range"),
    "a missing field": (
        {"a": {"dtype": "U8", "shape": [4]}}, bytes(4), "fields it should have.*'dtype', 'shape'",
    ),
    "an unknown field": ({"a": field() | {"extra": 1}}, bytes(4), "fields it should have.*'extra'"),
    "no fields": ({"a": {}}, b"", "fields it should have.*none"),
    "a tensor that is no object": ({"a": [1]}, b"", "fields it should have.*a list"),
    "a tensor that is null": ({"a": None}, b"", "fields it should have.*found None\\."),
    "an unknown dtype": ({"a": field("F128", [1], [0, 16])}, bytes(16), "dtype.*F128"),
    "a dtype in small letters": ({"a": field("u8")}, bytes(4), "dtype.*'u8'"),
    "a dtype that is no text": ({"a": field(["U8"])}, bytes(4), "dtype.*a list"),
    "four bits": ({"a": field("F4", [2], [0, 1])}, bytes(1), "dtype.*F4"),
    "six bits": ({"a": field("F6_E2M3", [4], [0, 3])}, bytes(3), "dtype.*F6_E2M3"),
    "more data than the shape needs": (
        {"a": field("F32", [1], [0, 8])}, bytes(8), "expected 4 bytes.*found 8",
    ),
    "less data than the shape needs": (
        {"a": field("F32", [2], [0, 4])}, bytes(4), "expected 8 bytes.*found 4",
    ),
    "data for an empty shape": ({"a": field("U8", [0], [0, 4])}, bytes(4), "expected 0 bytes"),
    "no data for a scalar": ({"a": field("U8", [], [0, 0])}, b"", "expected 1 bytes"),
    "a size that wraps round at 64 bits to what is there": (
        {"a": field("U8", [2**32, 2**32 + 1, 2**32], [0, 2**32])}, b"", "within bounds",
    ),
    "a size that wraps round at 64 bits to nothing": (
        {"a": field("F32", [2**31, 2**31], [0, 0])}, b"", "within bounds",
    ),
    "an empty shape with sides beyond all bounds": (
        {"a": field("U8", [2**40, 2**40, 0], [0, 0])}, b"", "within bounds",
    ),
    "a hole at the start": ({"a": field("U8", [4], [4, 8])}, bytes(8), "hole before.*'a'.*offset 0, found 4"),
    "a hole in the middle": (
        {"a": field(), "b": field("U8", [4], [5, 9])}, bytes(9), "hole before.*'b'.*offset 4, found 5",
    ),
    "an overlap": (
        {"a": field(), "b": field("U8", [4], [3, 7])}, bytes(7), "overlaps.*'b'.*offset 4, found 3",
    ),
    "two tensors in one place": ({"a": field(), "b": field()}, bytes(4), "overlaps.*'b'"),
    "an empty tensor inside another": (
        {"a": field(), "b": field("U8", [0], [2, 2])}, bytes(4), "overlaps.*'b'",
    ),
    "bytes behind the last tensor": ({"a": field()}, bytes(5), "follow after.*expected 4.*found 5"),
    "bytes and no tensor": ({}, b"x", "follow after"),
    "data cut short": ({"a": field()}, bytes(3), "truncated inside its data.*expected 4.*found 3"),
    "data that is not there": ({"a": field("U8", [2**50], [0, 2**50])}, b"", "truncated inside its data"),
    "metadata that is no object": ({"__metadata__": ["a"]}, b"", "metadata is not an object.*a list"),
    "metadata that is null": ({"__metadata__": None}, b"", "metadata is not an object.*found None\\."),
    "metadata with a number": ({"__metadata__": {"a": 1}}, b"", "metadata 'a' is not text.*found 1"),
    "metadata with null": ({"__metadata__": {"a": None}}, b"", "metadata 'a' is not text"),
    "nested metadata": ({"__metadata__": {"a": {"b": "c"}}}, b"", "metadata 'a' is not text.*a dict"),
    "a tensor called metadata": ({"__metadata__": field()}, bytes(4), "metadata 'shape' is not text"),
    "a lone surrogate in a name": ('{"\\ud800": {}}', b"", "name holds a lone surrogate"),
    "a lone surrogate in a metadata key": ('{"__metadata__": {"\\udc00": "a"}}', b"", "lone surrogate"),
    "a lone surrogate in metadata": ('{"__metadata__": {"a": "b\\udfff"}}', b"", "lone surrogate"),
    "lists nested without end": ('{"a": ' + "[" * DEEP + "]" * DEEP + "}", b"", "nested too deep"),
    "objects nested without end": ('{"a": ' * DEEP + "1" + "}" * DEEP, b"", "nested too deep"),
    "metadata nested without end": (
        '{"__metadata__": ' + '{"a": ' * DEEP + "1" + "}" * (DEEP + 1), b"", "nested too deep",
    ),
    "a name of a megabyte": ({"n" * 1_000_000: 1}, b"", "fields it should have"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_header_is_refused_that_has(forge: Forge, case: str) -> None:
    header, data, match = HOSTILE[case]
    refused(forge(header, data), match)


def test_a_shape_of_very_many_sides_is_refused_without_multiplying_them_all(forge: Forge) -> None:
    def sides() -> Iterator[int]:
        yield from [MAX_NUMBER, MAX_NUMBER]
        raise AssertionError("a million of these would take minutes")

    assert span_of("U8", sides()) is None  # type: ignore[arg-type]  # an iterator that counts
    refused(forge({"a": field("U8", [MAX_NUMBER] * 50_000 + [0], [0, 0])}), "within bounds")


def test_a_length_above_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long"
    with path.open("wb") as file:
        file.write((100_000_001).to_bytes(8, "little") + b"{}")
        file.truncate(200_000_000)
    tracemalloc.start()
    try:
        refused(path, "not a safetensors file.*100000001")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_length_beyond_the_file_is_refused(forge: Forge) -> None:
    refused(forge("{}", length=3), "truncated inside its header.*expected at least 11 bytes, found 10")
    refused(forge("{}", length=99_999_999), "truncated inside its header")


@pytest.mark.parametrize("length", [0, 1, 2**63, 2**64 - 1])
def test_a_length_that_cannot_be_is_refused(forge: Forge, length: int) -> None:
    refused(forge("{}", length=length), "not a safetensors file")


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    head = build_header([Entry("a", "F32", (2,), 0, 8), Entry("b", "U8", (3,), 8, 11)], {"k": "v"})
    whole = head + bytes(11)
    path = tmp_path / "cut"
    for size in [*range(200), *range(len(head) - 100, len(whole))]:
        path.write_bytes(whole[:size])
        refused(path, "truncated" if size >= 8 else "too short")
        # The same when the file was whole when its size was asked: a header that ends early is no header.
        if size < len(head):
            with pytest.raises(FormatError, match=r"truncated|too short"):
                parse_header(whole[:size], len(whole))
    assert parse_header(whole[: len(head)], len(whole)).data_start == len(head)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\x03\x04\x14\0\0\0\0\0", "a zip archive"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x93NUMPY\x01\0", "a NumPy file"),
        (b"hello world", "a header of "),
    ],
)
def test_other_files_are_told_by_their_kind(tmp_path: Path, start: bytes, kind: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(start + bytes(1000))
    assert str(refused(path, "not a safetensors file").found).startswith(kind)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    refused(path, "too short to be a safetensors file.*found 0")


# Paths.


def path_refused(path: Path | str, match: str, kind: type[PathError] = PathError) -> None:
    with pytest.raises(PathError, match=match) as caught:
        read_header(path)
    assert type(caught.value) is kind
    assert caught.value.path == str(path).replace("\0", "\\0")
    assert caught.value.remedy


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    path_refused(tmp_path / "no", "no such file", NoSuchFileError)
    path_refused(tmp_path / "no" / "no", "no such file", NoSuchFileError)
    (tmp_path / "file").touch()
    path_refused(tmp_path / "file" / "no", "no such file", NoSuchFileError)
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "no")


def test_a_folder_is_told(tmp_path: Path) -> None:
    path_refused(tmp_path, "found a folder")


def test_a_pipe_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path_refused(tmp_path / "pipe", "found a special file")


def test_a_path_with_a_null_character_is_told() -> None:
    path_refused("a\0b", "not a path")


def test_a_link_in_a_circle_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    path_refused(tmp_path / "link", "cannot be read")


def test_a_file_that_may_not_be_read_is_told(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    path = forge("{}")

    def no(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", no)
    path_refused(path, "cannot be read.*Permission denied")


def test_a_disk_that_fails_is_told() -> None:
    path_refused("/proc/self/mem", "cannot be read|special")  # reading its start fails, even for root
