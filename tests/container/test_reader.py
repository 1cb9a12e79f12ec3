"""Tensors are mapped or copied out of a file, and never write to it."""

from __future__ import annotations

import gc
import os
import tracemalloc
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from tiedio.container import single
from tiedio.container.header import Header, build_header, header_of
from tiedio.container.single import ALIGNMENT, as_bytes, layout, open_reader, write_tensors
from tiedio.container.writing import Tensor
from tiedio.errors import FormatError, NoSuchFileError, PathError

Array = NDArray[Any]


def address(array: Array) -> int:
    return int(array.ctypes.data)


def write(path: Path, arrays: dict[str, Array]) -> None:
    def tensor(name: str, array: Array) -> Tensor:
        code = {"int32": "I32", "uint8": "U8", "int8": "I8"}[array.dtype.name]
        return Tensor(name, code, array.shape, lambda: as_bytes(array))

    write_tensors(path, [tensor(name, array) for name, array in arrays.items()], {})


@pytest.fixture
def file(path: Path) -> Path:
    write(path, {"a": np.arange(1000, dtype="int32"), "b": np.arange(7, dtype="uint8")})
    return path


def test_a_mapped_tensor_can_be_written_to_and_the_file_stays(file: Path) -> None:
    before = file.read_bytes()
    reader = open_reader(file)
    array = reader.bytes_of("a").view("int32")
    array += 1
    assert array.tolist() == list(range(1, 1001))
    assert file.read_bytes() == before
    assert reader.bytes_of("a").view("int32")[0] == 1  # one mapping: the same pages
    assert open_reader(file).bytes_of("a").view("int32")[0] == 0


def test_a_tensor_outlives_its_reader_and_the_replacement_of_the_file(file: Path) -> None:
    reader = open_reader(file)
    array = reader.bytes_of("a").view("int32")
    reader.close()
    del reader
    gc.collect()
    write(file, {"a": np.zeros(1000, "int32")})
    file.unlink()
    assert array.tolist() == list(range(1000))


def test_a_reader_stays_with_the_file_that_it_opened(file: Path) -> None:
    readers = [open_reader(file, mmap=mmap) for mmap in (True, False)]
    write(file, {"a": np.zeros(1, "int8")})
    for reader in readers:
        assert reader.bytes_of("a").view("int32").tolist() == list(range(1000))


def test_a_copied_tensor_is_aligned_and_its_own(path: Path) -> None:
    arrays = {f"t{size}": np.arange(size).astype("uint8") for size in (1, 7, 64, 1001)}
    safetensors.numpy.save_file(arrays, path)  # not aligned in the file
    reader = open_reader(path, mmap=False)
    for name, array in arrays.items():
        raw = reader.bytes_of(name)
        assert address(raw) % ALIGNMENT == 0
        raw[:] = 255
        assert reader.bytes_of(name).tobytes() == array.tobytes()


@pytest.mark.parametrize("mmap", [True, False])
def test_mapping_reads_nothing_and_copying_only_what_is_asked_for(path: Path, mmap: bool) -> None:
    write(path, {"big": np.zeros(30_000_000, "uint8"), "small": np.zeros(3, "uint8")})
    tracemalloc.start()
    try:
        reader = open_reader(path, mmap=mmap)
        reader.bytes_of("small")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        reader.bytes_of("big")
        assert (tracemalloc.get_traced_memory()[1] > 30_000_000) is not mmap
    finally:
        tracemalloc.stop()


def test_a_file_larger_than_memory_can_be_mapped(path: Path) -> None:
    size = 2**40
    head = build_header(layout([Tensor("big", "U8", (size,), bytes)]), {})
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)  # a tebibyte, and sparse
    try:
        array = open_reader(path).bytes_of("big")
        array[-1] = 3
        assert (array[0], array[-1]) == (0, 3)
    finally:
        path.unlink()


def open_descriptors(path: Path) -> int:
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # another thread's, closed by now
            count += descriptor.readlink() == path
    return count


@pytest.mark.parametrize("mmap", [True, False])
def test_a_reader_that_is_dropped_leaves_no_open_file(file: Path, mmap: bool) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        reader = open_reader(file, mmap=mmap)
        reader.bytes_of("a")
        assert open_descriptors(file) == (2 if mmap else 1)  # Python's mapping has one of its own
        del reader
        gc.collect()
    assert open_descriptors(file) == 0
    assert [warning for warning in seen if issubclass(warning.category, ResourceWarning)] == []


@pytest.mark.parametrize("mmap", [True, False])
def test_a_reader_can_be_closed_and_then_says_so(file: Path, mmap: bool) -> None:
    with open_reader(file, mmap=mmap) as reader:
        kept = reader.bytes_of("b")
    assert kept.tolist() == list(range(7))
    with pytest.raises(PathError, match=r"cannot be read.*closed") as caught:
        reader.bytes_of("b")
    assert caught.value.path == str(file)


def test_a_tensor_that_is_not_there_is_told(file: Path) -> None:
    with pytest.raises(FormatError, match="holds no tensor 'c'") as caught:
        open_reader(file).bytes_of("c")
    assert caught.value.path == str(file)
    assert caught.value.remedy


def test_a_missing_or_damaged_file_is_told(path: Path) -> None:
    with pytest.raises(NoSuchFileError):
        open_reader(path)
    path.write_bytes(bytes(100))
    for mmap in (True, False):
        with pytest.raises(FormatError, match="not a safetensors file"):
            open_reader(path, mmap=mmap)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("change", [-1, -5000, 1])
def test_a_file_that_changes_size_while_it_is_opened_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch, mmap: bool, change: int
) -> None:
    def header_then_change(opened: Any, shown: str, limits: Any) -> Header:
        header = header_of(opened, shown, limits)
        os.truncate(file, header.file_size + change)
        return header

    monkeypatch.setattr(single, "header_of", header_then_change)
    with pytest.raises(FormatError, match="changed while it was open") as caught:
        open_reader(file, mmap=mmap)
    assert caught.value.path == str(file)
    assert caught.value.expected
    assert caught.value.found
    assert caught.value.remedy


def test_a_file_that_is_cut_before_a_tensor_is_copied_is_refused(file: Path) -> None:
    reader = open_reader(file, mmap=False)
    os.truncate(file, file.stat().st_size - 1)
    with pytest.raises(FormatError, match="changed while it was open"):
        reader.bytes_of("a")


def test_a_file_that_is_cut_while_a_tensor_is_copied_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_reader(file, mmap=False)
    os.truncate(file, file.stat().st_size - 1000)
    monkeypatch.setattr(single.Reader, "require_unchanged", lambda self: None)  # it was still whole when it was asked
    with pytest.raises(FormatError, match=r"changed while it was open.*expected 4000 bytes, found 3"):
        reader.bytes_of("a")


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_that_is_written_to_in_place_is_refused_when_a_tensor_is_asked_for(file: Path, mmap: bool) -> None:
    reader = open_reader(file, mmap=mmap)
    reader.bytes_of("a")
    with file.open("r+b") as other:
        other.seek(-1, os.SEEK_END)
        other.write(b"x")
    os.utime(file)  # whatever the file system's clock counts in
    with pytest.raises(FormatError, match="changed while it was open") as caught:
        reader.bytes_of("a")
    assert "other bytes" in str(caught.value)
