"""Every byte of a file is under a digest: whatever bit is flipped, it is found, and its tensor is named."""

from __future__ import annotations

import json
import os
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from tiedio.container import digests as digests_module
from tiedio.container.digests import ALGORITHM, KEY, Digests, blank, digests_of, sealed, verified_header
from tiedio.container.header import PAGE, Entry, Header, build_header, open_file, parse_header, read_head, read_header
from tiedio.container.single import open_reader, write_tensors
from tiedio.container.writing import Tensor
from tiedio.errors import DamagedError, FormatError, ModelError

DATA = {
    "kernel": np.arange(24, dtype="<f4").tobytes(),
    "bias": b"\x01\x02\x03",
    "empty": b"",
    "ü/scale": bytes(64),
    "flag": b"\x01",
}
# Texts that look like digests stand where none are.
METADATA = {
    "note": f'{{"{KEY}":"{{}}"}}, "{KEY}":"{blank(0)}"',
    f'x"{KEY}': blank(1),
    f"{KEY}2": blank(2),
    "a": json.dumps({KEY: blank(0)}),
}


def tensors(data: dict[str, bytes]) -> list[Tensor]:
    return [Tensor(name, "U8", (len(raw),), lambda raw=raw: raw) for name, raw in data.items()]  # type: ignore[misc]


@pytest.fixture
def file(path: Path) -> Path:
    write_tensors(path, tensors(DATA), METADATA)
    return path


def verify(path: Path) -> Header:
    with open_file(str(path)) as opened:
        return verified_header(opened, str(path))


def flipped(path: Path, places: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Flips one bit after the other, and yields where while it is flipped."""
    raw = path.read_bytes()
    with path.open("r+b", buffering=0) as opened:
        for place in places:
            for bit in range(8):
                os.pwrite(opened.fileno(), bytes([raw[place] ^ 1 << bit]), place)
                yield place, bit
            os.pwrite(opened.fileno(), raw[place : place + 1], place)


# What is written.


def test_the_digests_are_those_of_the_bytes_and_of_a_header_with_zeros_for_its_own(file: Path) -> None:
    raw = file.read_bytes()
    header = read_header(file)
    found = json.loads(header.metadata[KEY])
    assert list(found) == ["algorithm", "header", "tensors"]
    assert found["algorithm"] == ALGORITHM == "xxh3-128"
    assert found["tensors"] == [xxhash.xxh3_128_hexdigest(DATA[name]) for name in header.entries]
    head = raw[: header.data_start]
    assert head.count(found["header"].encode()) == 1
    assert found["header"] == xxhash.xxh3_128_hexdigest(head.replace(found["header"].encode(), b"0" * 32))
    assert {key: text for key, text in header.metadata.items() if key != KEY} == METADATA
    assert digests_of(header) == Digests(found["header"], tuple(found["tensors"]))
    assert verify(file) == header


@pytest.mark.parametrize("data", [{}, {"empty": b""}, {"one": b"1"}], ids=["no tensors", "no bytes", "a byte"])
def test_a_file_with_little_in_it_is_sealed_too(path: Path, data: dict[str, bytes]) -> None:
    write_tensors(path, tensors(data), {})
    assert path.stat().st_size == PAGE + sum(map(len, data.values()))
    assert list(verify(path).entries) == list(data)
    for _ in flipped(path, iter([0, 20, PAGE - 1])):
        with pytest.raises(FormatError):
            verify(path)


def test_the_header_that_is_sealed_is_the_header_that_was_built() -> None:
    entries = [Entry("a", "U8", (1,), 0, 1), Entry("b", "U8", (2,), 1, 3)]
    head = build_header(entries, {**METADATA, KEY: blank(2)})
    result = sealed(head, ["1" * 32, "f" * 32])
    assert len(result) == len(head)
    parsed = parse_header(result, len(result) + 3)
    assert list(parsed.entries.values()) == entries
    found = digests_of(parsed)
    assert found is not None
    assert found.tensors == ("1" * 32, "f" * 32)
    assert {**parsed.metadata, KEY: blank(2)} == {**METADATA, KEY: blank(2)}


def test_a_header_without_a_place_for_digests_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="no blank digests"):
        sealed(build_header([], METADATA), [])


def test_the_metadata_of_a_caller_has_no_digests(path: Path) -> None:
    with pytest.raises(ModelError, match=r"reserved key.*tiedio\.digests") as caught:
        write_tensors(path, tensors(DATA), {KEY: blank(5)})
    assert caught.value.path == str(path)
    assert not path.exists()


def test_data_that_differs_when_it_is_asked_again_is_asked_once(path: Path) -> None:
    given = iter([b"first", b"other"])
    write_tensors(path, [Tensor("a", "U8", (5,), lambda: next(given))], {})
    assert next(given) == b"other"
    verify(path)
    assert open_reader(path, verify=True).bytes_of("a").tobytes() == b"first"


@pytest.mark.parametrize("size", [0, 1, 4095, 1 << 22, (1 << 22) + 1, 9_000_001])
def test_tensors_of_any_number_of_chunks_are_under_their_digest(path: Path, size: int) -> None:
    raw = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    write_tensors(path, [Tensor("a", "U8", (size,), lambda: raw), *tensors(DATA)], {})
    found = digests_of(verify(path))
    assert found is not None
    assert xxhash.xxh3_128_hexdigest(raw.tobytes()) in found.tensors


# What is found.


def test_every_bit_of_a_file_counts(file: Path) -> None:
    header = read_header(file)
    at = {header.data_start + i: e.name for e in header.entries.values() for i in range(e.start, e.stop)}
    size = file.stat().st_size
    assert size < 6000
    found = 0
    for place, bit in flipped(file, iter(range(size))):
        with pytest.raises(FormatError) as caught:
            verify(file)
        if place in at:
            assert isinstance(caught.value, DamagedError), (place, bit)
            assert (caught.value.header, caught.value.tensors) == (False, (at[place],))
        else:
            assert not isinstance(caught.value, DamagedError) or caught.value.header, (place, bit)
        found += 1
    assert found == 8 * size
    verify(file)  # and it is whole again


def test_all_damaged_tensors_are_named_and_the_header_with_them(file: Path) -> None:
    header = read_header(file)
    raw = bytearray(file.read_bytes())
    for name in ("kernel", "ü/scale"):
        raw[header.data_start + header.entries[name].start] ^= 1
    raw[header.data_start - 1] ^= 0x29  # a tab instead of a space: still JSON
    file.write_bytes(raw)
    with pytest.raises(DamagedError, match="not those that were written") as caught:
        verify(file)
    error = caught.value
    assert (error.header, set(error.tensors)) == (True, {"kernel", "ü/scale"})
    assert (error.path, error.found) == (str(file), "others in its header, tensor 'ü/scale', tensor 'kernel'")
    assert error.expected
    assert error.remedy
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.header, copy.tensors) == (str(error), True, error.tensors)


def test_of_very_many_damaged_tensors_the_text_names_some_and_the_error_all(path: Path) -> None:
    names = [f"t{i:03}" for i in range(100)]
    write_tensors(path, tensors(dict.fromkeys(names, b"right")), {})
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"right", b"wrong"))
    with pytest.raises(DamagedError, match="'t019', 80 more tensors") as caught:
        verify(path)
    assert caught.value.tensors == tuple(names)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_reader_that_verifies_reads_the_file_that_it_verified(
    file: Path, mmap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced_then_verified(opened: Any, shown: str, limits: Any, progress: Any) -> Header:
        header = verified_header(opened, shown, limits)
        other = file.with_name("other")
        write_tensors(other, tensors({**DATA, "bias": b"bad"}), METADATA)
        other.replace(file)
        return header

    monkeypatch.setattr("tiedio.container.single.verified_header", replaced_then_verified)
    assert open_reader(file, mmap=mmap, verify=True).bytes_of("bias").tobytes() == DATA["bias"]
    assert open_reader(file, mmap=mmap).bytes_of("bias").tobytes() == b"bad"


@pytest.mark.parametrize("mmap", [True, False])
def test_a_reader_verifies_only_when_it_is_asked(file: Path, mmap: bool) -> None:
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert open_reader(file, mmap=mmap).bytes_of("flag").tobytes() == b"\0"
    with pytest.raises(DamagedError, match="'flag'"):
        open_reader(file, mmap=mmap, verify=True)


def test_a_file_that_is_cut_while_it_is_verified_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_then_cut(opened: Any, shown: str) -> tuple[bytes, bytes, int]:
        first, raw, size = read_head(opened, shown)
        os.truncate(file, size - 1)
        return first, raw, size

    monkeypatch.setattr(digests_module, "read_head", read_then_cut)
    with pytest.raises(FormatError, match="changed while it was open") as caught:
        verify(file)
    assert not isinstance(caught.value, DamagedError)


def test_verifying_takes_a_few_mebibytes_whatever_the_size(path: Path) -> None:
    raw = np.zeros(60_000_000, np.uint8)
    write_tensors(path, [Tensor("big", "U8", raw.shape, lambda: raw)], {})
    tracemalloc.start()
    try:
        verify(path)
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


# Digests that are none.


def test_a_file_without_digests_says_so(path: Path) -> None:
    path.write_bytes(build_header([], {"note": "hi"}))
    assert digests_of(read_header(path)) is None
    with pytest.raises(FormatError, match="holds no digests") as caught:
        verify(path)
    assert caught.value.expected == "metadata key 'tiedio.digests'"
    assert caught.value.found == "'note'"
    assert "save it again" in str(caught.value.remedy)


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no algorithm": (lambda d: d.pop("algorithm"), "keys they should have.*found 'header', 'tensors'"),
    "no header": (lambda d: d.pop("header"), "keys they should have"),
    "no tensors": (lambda d: d.pop("tensors"), "keys they should have"),
    "another key": (lambda d: d.update(more=1), "keys they should have.*'more'"),
    "another order": (lambda d: d.update(algorithm=d.pop("algorithm")), "keys they should have"),
    "another algorithm": (lambda d: d.update(algorithm="xxh3-64"), "unknown algorithm.*'xxh3-64'.*update tiedio"),
    "an algorithm that is no text": (lambda d: d.update(algorithm=[]), "unknown algorithm.*a list"),
    "a short digest": (lambda d: d.update(header="0" * 31), "32 hex digits"),
    "a long digest": (lambda d: d.update(header="0" * 33), "32 hex digits"),
    "an upper-case digest": (lambda d: d.update(header="A" * 32), "32 hex digits in lower case"),
    "a digest of other characters": (lambda d: d["tensors"].__setitem__(1, "g" * 32), "32 hex digits"),
    "a digest with a line end": (lambda d: d.update(header="0" * 32 + "\n"), "32 hex digits"),
    "digits of another script": (lambda d: d.update(header="٣" * 32), "32 hex digits"),
    "a digest that is no text": (lambda d: d.update(header=0), "32 hex digits"),
    "a digest too few": (lambda d: d["tensors"].pop(), "one digest for each tensor.*a list of 2, found 1"),
    "a digest too many": (lambda d: d["tensors"].append("0" * 32), "one digest for each tensor.*found 3"),
    "tensors that are no list": (lambda d: d.update(tensors={}), "one digest for each tensor.*a dict"),
}


def with_text(text: str) -> Header:
    entries = [Entry("a", "U8", (1,), 0, 1), Entry("b", "U8", (1,), 1, 2)]
    head = build_header(entries, {KEY: text})
    return parse_header(head, len(head) + 2)


@pytest.mark.parametrize("case", WRONG)
def test_digests_are_refused_that_have(case: str) -> None:
    change, match = WRONG[case]
    value = json.loads(blank(2))
    change(value)
    with pytest.raises(FormatError, match=match) as caught:
        digests_of(with_text(json.dumps(value, separators=(",", ":"))), "file")
    assert caught.value.path == "file"
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        *["", "[]", "null", "1", "{", "NaN", "[" * 100_000, "9" * 5000, blank(2) + "x"],
        json.dumps(json.loads(blank(2))),
        blank(2) + " ",
        blank(2).replace('"header"', '"\\u0068eader"'),
        blank(2).replace('"header":', '"header":"","header":'),
    ],
    ids=lambda text: text[:20],
)
def test_text_is_refused_that_is_not_the_one_way_to_say_digests(text: str) -> None:
    with pytest.raises(FormatError):
        digests_of(with_text(text), "file")
    assert digests_of(with_text(blank(2))) is not None


def test_another_writer_may_put_spaces_around_the_key(path: Path) -> None:
    header: dict[str, Any] = {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}
    digest = xxhash.xxh3_128_hexdigest(b"x")
    text = Digests("0" * 32, (digest,)).text()
    raw = json.dumps(header | {"__metadata__": {KEY: text}}, indent=1).encode()
    head = len(raw).to_bytes(8, "little") + raw
    own = xxhash.xxh3_128_hexdigest(head)
    path.write_bytes(head.replace(b"0" * 32, own.encode()) + b"x")
    assert list(verify(path).entries) == ["a"]
