"""One safetensors file: what is written comes back bit for bit, here and in the safetensors library."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiedio.container import writing
from tiedio.container.digests import KEY
from tiedio.container.header import ITEM_BITS, PAGE, read_header
from tiedio.container.single import ALIGNMENT, as_bytes, layout, open_reader, write_tensors
from tiedio.container.writing import Tensor
from tiedio.errors import PathError

Array = NDArray[Any]

CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip
# What the NumPy side of safetensors can load.
LOADABLE = [name for name in CODES if not name.startswith(("bfloat", "float8"))]


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name) if hasattr(ml_dtypes, name) else name)


def random_array(name: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    dtype = dtype_of(name)
    count = int(np.prod(shape)) * dtype.itemsize
    raw = np.random.default_rng(seed).integers(0, 2 if name == "bool" else 256, count, np.uint8)
    return raw.view(dtype).reshape(shape)  # every bit pattern: NaNs with payloads too


def tensor_of(name: str, array: Array) -> Tensor:
    return Tensor(name, CODES[array.dtype.name], array.shape, lambda: as_bytes(array))


def write(path: Path, arrays: dict[str, Array], metadata: dict[str, str] | None = None) -> None:
    write_tensors(path, [tensor_of(name, array) for name, array in arrays.items()], metadata or {})


def address(array: Array) -> int:
    return int(array.ctypes.data)


# Round trips.


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("name", CODES)
def test_every_dtype_comes_back_bit_for_bit(path: Path, name: str, mmap: bool) -> None:
    arrays = {
        "matrix": random_array(name, (3, 5), 1),
        "scalar": random_array(name, (), 2),
        "empty": random_array(name, (0, 4), 3),
        "deep/path/ü": random_array(name, (1, 2, 3, 1), 4),
    }
    write(path, arrays, {"note": "hi"})
    reader = open_reader(path, mmap=mmap)
    assert reader.header == read_header(path)
    assert reader.header.metadata.keys() == {"note", KEY}
    assert reader.header.metadata["note"] == "hi"
    assert set(reader.header.entries) == set(arrays)
    for key, array in arrays.items():
        back = reader.bytes_of(key)
        assert back.dtype == np.uint8
        assert back.ndim == 1
        assert back.flags.writeable
        assert back.tobytes() == array.tobytes()
        assert reader.header.entries[key].shape == array.shape


def test_safetensors_loads_what_we_write(path: Path) -> None:
    arrays = {f"{name}/{i}": random_array(name, (i, 3), i) for name in LOADABLE for i in range(3)}
    arrays |= {f"{name}/scalar": random_array(name, ()) for name in LOADABLE}
    write(path, arrays, {"a": "b"})
    theirs = safetensors.numpy.load_file(path)
    assert set(theirs) == set(arrays)
    for key, array in arrays.items():
        assert theirs[key].dtype == array.dtype
        assert theirs[key].shape == array.shape
        assert theirs[key].tobytes() == array.tobytes()


def test_safe_open_reads_metadata_names_shapes_and_dtypes_of_what_we_write(path: Path) -> None:
    arrays = {name: random_array(name, (2, 3)) for name in CODES}
    write(path, arrays, {"one": "1", "zwei": "ü"})
    with safetensors.safe_open(path, framework="np") as file:
        assert {key: text for key, text in file.metadata().items() if key != KEY} == {"one": "1", "zwei": "ü"}
        assert set(file.keys()) == set(arrays)
        for name in arrays:
            assert file.get_slice(name).get_shape() == [2, 3]
            assert file.get_slice(name).get_dtype() == CODES[name]


@pytest.mark.parametrize("mmap", [True, False])
def test_we_read_what_safetensors_writes(path: Path, mmap: bool) -> None:
    arrays = {f"{name}{i}": random_array(name, (i, 2), i) for name in CODES for i in range(4)}
    safetensors.numpy.save_file(arrays, path, metadata={"format": "np"})
    reader = open_reader(path, mmap=mmap)
    assert reader.header.metadata == {"format": "np"}
    assert {name: entry.dtype for name, entry in reader.header.entries.items()} == {
        name: CODES[array.dtype.name] for name, array in arrays.items()
    }
    for name, array in arrays.items():
        assert reader.header.entries[name].shape == array.shape
        assert reader.bytes_of(name).tobytes() == array.tobytes()


def test_a_file_without_tensors_is_one_page(path: Path) -> None:
    write(path, {})
    assert path.stat().st_size == PAGE
    assert open_reader(path).header.entries == {}
    assert safetensors.numpy.load_file(path) == {}


def test_an_old_file_is_replaced_and_may_be_protected(path: Path) -> None:
    write(path, {"a": np.zeros(3, "int8")})
    write(path, {"b": np.ones(3, "int8")})
    assert list(read_header(path).entries) == ["b"]
    with pytest.raises(PathError, match="already exists"):
        write_tensors(path, [], {}, overwrite=False)
    assert list(read_header(path).entries) == ["b"]


# Layout.


def test_data_starts_on_a_page_and_every_slice_whose_size_allows_it_on_64_bytes(path: Path) -> None:
    sizes = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 63, 64, 65, 96, 128, 192, 200, 4096, 5000]
    arrays = {f"t{size}": random_array("uint8", (size,), size) for size in sizes}
    arrays |= {f"d{size}": random_array("float64", (size,), size) for size in (1, 3, 5, 8)}
    write(path, arrays)
    reader = open_reader(path)
    assert reader.header.data_start % PAGE == 0
    for entry in reader.header.entries.values():
        raw = reader.bytes_of(entry.name)
        if raw.size and raw.size % ALIGNMENT == 0:
            assert address(raw) % ALIGNMENT == 0
        assert entry.start % (ITEM_BITS[entry.dtype] // 8) == 0
        assert raw.tobytes() == arrays[entry.name].tobytes()


@given(
    st.lists(
        st.tuples(
            st.sampled_from([dtype for dtype, bits in ITEM_BITS.items() if bits % 8 == 0]),
            st.lists(st.integers(0, 9) | st.sampled_from([16, 64, 100]), max_size=4).map(tuple),
        ),
        max_size=12,
    )
)
def test_any_tensors_are_laid_out_without_holes_and_aligned(kinds: list[tuple[str, tuple[int, ...]]]) -> None:
    tensors = [Tensor(f"t{i}", dtype, shape, bytes) for i, (dtype, shape) in enumerate(kinds)]
    entries = layout(tensors)
    assert {(e.name, e.dtype, e.shape) for e in entries} == {(t.name, t.dtype, t.shape) for t in tensors}
    end = 0
    for entry in entries:
        assert entry.start == end
        end = entry.stop
        item = ITEM_BITS[entry.dtype] // 8
        size = entry.stop - entry.start
        assert size == item * int(np.prod(entry.shape))
        assert entry.start % item == 0
        largest = next(power for power in (64, 32, 16, 8, 4, 2, 1) if size % power == 0)
        assert entry.start % largest == 0
    assert layout(tensors[::-1]) == entries


def test_tensors_stand_by_alignment_then_by_name() -> None:
    sizes = {"c": 64, "a": 3, "b": 128, "e": 32, "d": 0, "f": 96, "g": 1}
    entries = layout([Tensor(name, "U8", (size,), bytes) for name, size in sizes.items()])
    assert [entry.name for entry in entries] == ["b", "c", "d", "e", "f", "a", "g"]


def test_the_same_input_gives_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    arrays = {f"t{i}": random_array("float32", (i % 7, 3), i) for i in range(20)}
    metadata = {f"k{i}": str(i) for i in range(20)}
    digests = set()
    for seed in range(5):
        shuffle = random.Random(seed).sample
        path = tmp_path / f"{seed}"
        write(path, dict(shuffle(list(arrays.items()), 20)), dict(shuffle(list(metadata.items()), 20)))
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


# Data.


@pytest.mark.parametrize(
    "give", [bytes, bytearray, memoryview, lambda raw: np.frombuffer(raw, "<f4").reshape(2, 3)],
    ids=["bytes", "bytearray", "memoryview", "array"],
)  # fmt: skip
def test_any_buffer_will_do(path: Path, give: Callable[[bytes], Any]) -> None:
    raw = bytes(range(24))
    write_tensors(path, [Tensor("a", "F32", (2, 3), lambda: give(raw))], {})
    assert open_reader(path).bytes_of("a").tobytes() == raw


def test_each_tensor_is_asked_once_in_the_order_of_the_file_and_let_go_before_the_next(path: Path) -> None:
    asked: list[str] = []
    alive: list[weakref.ref[Array]] = []

    def give(name: str) -> Array:
        assert all(ref() is None for ref in alive)
        asked.append(name)
        array = np.full(1000, len(asked), "uint8")
        alive.append(weakref.ref(array))
        return array

    names = ["c", "a", "b"]
    write_tensors(path, [Tensor(name, "U8", (1000,), lambda name=name: give(name)) for name in names], {})  # type: ignore[misc]
    assert asked == ["a", "b", "c"]


def test_a_large_tensor_is_written_without_a_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_CHUNK", 10_000_019)  # several writes, and a rest
    array = random_array("uint8", (40_000_000,))
    tracemalloc.start()
    try:
        write(path, {"big": array, "small": array[:5]})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert np.array_equal(open_reader(path).bytes_of("big"), array)
