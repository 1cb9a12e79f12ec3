"""Values of two files: every dtype, what is no number, tolerance, and memory."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tiedio.comparing.difference import ValueChange
from tiedio.comparing.values import _PART, compare_values
from tiedio.container.single import as_bytes, open_reader, write_tensors
from tiedio.container.writing import Tensor
from tiedio.dtypes import numpy_dtype
from tiedio.errors import FormatError
from tiedio.manifest import SAFETENSORS_CODES, TensorSpec


def compared(
    tmp_path: Path, one: np.ndarray[Any, Any], other: np.ndarray[Any, Any], dtype: str | None = None, **options: Any
) -> ValueChange | None:
    """What is found if two files hold these arrays."""
    name = dtype or str(one.dtype)
    for file, array in (("a", one), ("b", other)):
        tensor = Tensor("t", SAFETENSORS_CODES[name], array.shape, lambda array=array: as_bytes(array))  # type: ignore[misc]
        write_tensors(tmp_path / file, [tensor], {})
    spec = TensorSpec("t", name, one.shape)
    with open_reader(tmp_path / "a", mmap=False) as a, open_reader(tmp_path / "b") as b:
        found = compare_values(a, b, [(spec, "t")], **options)
    return found[0] if found else None


@pytest.mark.parametrize("dtype", SAFETENSORS_CODES)
def test_equal_values_of_every_dtype_are_equal_and_others_are_not(tmp_path: Path, dtype: str) -> None:
    one = np.array([0, 1, 1, 0], "uint8").astype(numpy_dtype(dtype))
    other = np.array([0, 1, 0, 0], "uint8").astype(numpy_dtype(dtype))
    assert compared(tmp_path, one, one, dtype) is None
    change = compared(tmp_path, one, other, dtype)
    assert change is not None
    assert (change.differing, change.largest, change.not_numbers, change.first) == (1, 1, 0, (2,))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_equal_nans_are_equal_and_a_nan_against_a_number_is_told(tmp_path: Path, dtype: str) -> None:
    kind = numpy_dtype(dtype)
    one = np.array([math.nan, 1, 2, 3], "float32").astype(kind)
    assert compared(tmp_path, one, one, dtype) is None
    change = compared(tmp_path, one, np.array([math.nan, math.nan, 2, 5], "float32").astype(kind), dtype)
    assert change is not None
    assert (change.differing, change.largest, change.not_numbers, change.first) == (2, 2, 1, (1,))
    assert str(change) == "t: 2 of 4 differ, by at most 2, 1 is NaN on one side only, first at [1]"


def test_nans_of_other_bits_differ_and_have_no_distance(tmp_path: Path) -> None:
    one = np.array([math.nan], "float32")
    other = (one.view("uint32") ^ 1).view("float32")
    change = compared(tmp_path, one, other)
    assert change is not None
    assert (change.differing, change.largest, change.not_numbers) == (1, None, 0)


def test_infinities_are_equal_to_themselves_and_infinitely_far_from_others(tmp_path: Path) -> None:
    one = np.array([math.inf, math.inf, 1], "float32")
    assert compared(tmp_path, one, one) is None
    change = compared(tmp_path, one, np.array([math.inf, -math.inf, 1], "float32"))
    assert change is not None
    assert (change.differing, change.largest) == (1, math.inf)


def test_minus_zero_is_another_value_unless_a_tolerance_is_given(tmp_path: Path) -> None:
    one, other = np.array([0.0], "float32"), np.array([-0.0], "float32")
    change = compared(tmp_path, one, other)
    assert change is not None
    assert (change.differing, change.largest) == (1, 0)
    assert compared(tmp_path, one, other, atol=1e-9) is None


@pytest.mark.parametrize("dtype", ["int64", "int8", "uint64", "uint8", "int32"])
def test_integers_are_subtracted_exactly(tmp_path: Path, dtype: str) -> None:
    info = np.iinfo(dtype)
    change = compared(tmp_path, np.array([info.min, 5], dtype), np.array([info.max, 4], dtype))
    assert change is not None
    assert (change.differing, change.largest) == (2, int(info.max) - int(info.min))
    assert isinstance(change.largest, int)


def test_a_tolerance_leaves_small_differences_out_and_nans_in(tmp_path: Path) -> None:
    one = np.array([1, 2, 3, math.nan], "float64")
    other = np.array([1.001, 2.5, 3, 4], "float64")
    change = compared(tmp_path, one, other, atol=0.01)
    assert change is not None
    assert (change.differing, change.largest, change.not_numbers, change.first) == (2, 0.5, 1, (1,))
    assert compared(tmp_path, one[:3], other[:3], atol=0.5) is None
    assert compared(tmp_path, np.array([1, 5]), np.array([2, 5]), atol=1) is None


def test_truth_values_with_odd_bytes_are_compared_as_they_stand(tmp_path: Path) -> None:
    one, other = (np.array([0, n], "uint8").view(bool) for n in (1, 3))
    change = compared(tmp_path, one, other)
    assert change is not None
    assert (change.differing, change.largest) == (1, 2)


def test_what_differs_in_several_parts_of_a_tensor_is_added_up(tmp_path: Path) -> None:
    one = np.zeros((3, _PART // 4 + 5), "float32")
    other = one.copy()
    other[0, 7], other[1, 0], other[2, -1] = 1, -4, 2
    change = compared(tmp_path, one, other)
    assert change is not None
    assert (change.differing, change.largest, change.first) == (3, 4, (0, 7))


def test_scalars_and_empty_tensors(tmp_path: Path) -> None:
    change = compared(tmp_path, np.array(3, "int64"), np.array(10, "int64"))
    assert str(change) == "t: differs by 7"
    assert compared(tmp_path, np.zeros((0, 4)), np.zeros((0, 4))) is None


def test_memory_does_not_grow_with_the_tensors(tmp_path: Path) -> None:
    one = np.zeros(24 << 20, "uint8")
    peaks = []
    for dtype in ("float8_e5m2", "float32"):
        array = one.view(numpy_dtype(dtype))
        other = (one + 60).view(numpy_dtype(dtype))
        compared(tmp_path, array, array, dtype)  # files are there
        tensor = Tensor("t", SAFETENSORS_CODES[dtype], other.shape, lambda other=other: as_bytes(other))  # type: ignore[misc]
        write_tensors(tmp_path / "b", [tensor], {})
        with open_reader(tmp_path / "a", mmap=False) as a, open_reader(tmp_path / "b", mmap=False) as b:
            tracemalloc.start()
            (change,) = compare_values(a, b, [(TensorSpec("t", dtype, array.shape), "t")])
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert change.differing == array.size
    assert max(peaks) < 60 * _PART


def test_a_file_that_is_cut_short_meanwhile_is_an_error(tmp_path: Path) -> None:
    array = np.zeros(5000, "uint8")
    for name in ("a", "b"):
        write_tensors(tmp_path / name, [Tensor("t", "U8", (5000,), lambda: as_bytes(array))], {})
    with open_reader(tmp_path / "a", mmap=False) as a, open_reader(tmp_path / "b", mmap=False) as b:
        with (tmp_path / "b").open("r+b") as file:
            file.truncate(4200)
        with pytest.raises(FormatError, match="changed while it was open"):
            compare_values(a, b, [(TensorSpec("t", "uint8", (5000,)), "t")])


def test_bfloat16_is_subtracted_as_numbers(tmp_path: Path) -> None:
    one, other = (np.array([n], ml_dtypes.bfloat16) for n in (1.5, -2.0))
    change = compared(tmp_path, one, other, "bfloat16")
    assert change is not None
    assert change.largest == 3.5
