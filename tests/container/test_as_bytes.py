"""Arrays of any strides and byte order give the bytes that a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tiedio.container.single import as_bytes, open_reader, write_tensors
from tiedio.container.writing import Tensor
from tiedio.errors import ModelError

Array = NDArray[Any]

BASE = np.arange(2 * 3 * 4, dtype="float32").reshape(2, 3, 4)
ODD_ARRAYS: dict[str, Array] = {
    "transposed": BASE.T,
    "with two axes swapped": BASE.swapaxes(0, 1),
    "in Fortran order": np.asfortranarray(BASE),
    "strided": BASE[:, ::2, 1::2],
    "backwards": BASE[::-1, :, ::-1],
    "broadcast": np.broadcast_to(BASE[:, :1], (2, 3, 4)),
    "without axes": np.array(3.5, "float32"),
    "a transposed scalar": np.array(3.5, "float32").T,
    "one item of many": BASE.reshape(-1)[::7][:1],
    "one item, backwards": BASE[:1, :1, ::-1][:, :, :1],
    "empty": BASE[:, :0],
    "empty and transposed": BASE[:, :0].T,
    "big-endian": BASE.astype(">f4"),
    "big-endian and transposed": BASE.astype(">f4").T,
    "big-endian without axes": np.array(3.5, ">f4"),
    "big-endian complex": (BASE + 1j * BASE).astype(">c8"),
    "big-endian integers": BASE.astype(">i8")[::-1],
    "not aligned": np.frombuffer(bytes(range(1, 98)), "uint8")[1:].view("float32"),
    "read-only": np.frombuffer(bytes(range(96)), "float32"),
    "bfloat16 and transposed": BASE.astype(ml_dtypes.bfloat16).T,
    "float8 and strided": BASE.astype(ml_dtypes.float8_e4m3fn)[:, ::2],
    "a matrix object": np.ma.masked_array(BASE, BASE > 3),
}


def address(array: Array) -> int:
    return int(array.ctypes.data)


@pytest.mark.parametrize("case", ODD_ARRAYS)
def test_an_array_is_written_right_that_is(path: Path, case: str) -> None:
    array = ODD_ARRAYS[case]
    native = np.array(
        np.asarray(array).tolist(), array.dtype.newbyteorder("=") if array.dtype.kind != "V" else array.dtype
    )
    native = native.reshape(array.shape)
    raw = as_bytes(array)
    assert raw.dtype == np.uint8
    assert raw.ndim == 1
    assert raw.tobytes() == native.tobytes()
    tensor = Tensor("a", "U8", (array.nbytes,), lambda: as_bytes(array))
    write_tensors(path, [tensor], {})
    back = open_reader(path).bytes_of("a").view(native.dtype).reshape(array.shape)
    assert back.tobytes() == native.tobytes()


@pytest.mark.parametrize("case", ["contiguous", "without axes", "one item of many", "not aligned", "read-only"])
def test_the_bytes_of_a_contiguous_array_are_not_copied(case: str) -> None:
    array = ODD_ARRAYS.get(case, BASE)
    raw = as_bytes(array)
    assert address(raw) == address(array)
    assert np.shares_memory(raw, array)


@given(
    st.permutations(range(3)),
    st.lists(st.tuples(st.integers(-3, 3).filter(bool), st.integers(0, 3)), min_size=3, max_size=3),
)
def test_any_strides_give_the_bytes_in_c_order(axes: list[int], steps: list[tuple[int, int]]) -> None:
    slices = tuple(slice(start, None, step) for step, start in steps)
    view = BASE.transpose(axes)[slices]
    assert as_bytes(view).tobytes() == view.tobytes("C")


@pytest.mark.parametrize(
    "array", [np.array([None, "a"]), np.zeros(2, [("x", "i4"), ("y", "f4")])], ids=["objects", "records"]
)
def test_what_is_no_array_of_numbers_is_refused(array: Array) -> None:
    with pytest.raises(ModelError, match="expected an array of numbers") as caught:
        as_bytes(array)
    assert caught.value.remedy
