"""Values cross between file and variable bit for bit, without a copy where the address allows it."""

from __future__ import annotations

import itertools
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

import tiedio
from tiedio import values
from tiedio.container.header import read_header, span_of
from tiedio.container.single import as_bytes
from tiedio.dtypes import numpy_dtype
from tiedio.errors import FormatError, MismatchError, ModelError
from tiedio.manifest import SAFETENSORS_CODES, TensorSpec

ROOT = Path(__file__).resolve().parents[1]
SHAPES = [(), (0,), (3, 0, 2), (1,), (5,), (3, 7), (16, 16)]


def pattern(shape: tuple[int, ...], dtype: str) -> np.ndarray[Any, Any]:
    """Values whose bytes are all different where the dtype allows it; NaNs and negative zeros too."""
    kind = numpy_dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    raw = (np.arange(size) * 37 + 11).astype(np.uint8)
    array = raw.view(kind).reshape(shape)
    return array.astype("uint8").view("uint8").astype(bool) if dtype == "bool" else array


def placed(raw: np.ndarray[Any, Any], shift: int) -> np.ndarray[Any, Any]:
    """The bytes at an address that is `shift` past a multiple of 64."""
    room = np.zeros(raw.size + 128, np.uint8)
    start = -room.ctypes.data % 64 + shift
    room[start : start + raw.size] = raw
    return room[start : start + raw.size]


def bits(value: Any) -> bytes:
    return np.asarray(values.array_of(value)).tobytes()


def float8_zeros(shape: Any, dtype: str) -> Any:
    return np.zeros(shape, numpy_dtype(dtype))


def model_of(*dtypes: str) -> Any:
    class Bag(keras.layers.Layer):
        def __init__(self, dtypes: list[str], **options: Any) -> None:
            super().__init__(**options)
            self.dtypes = dtypes

        def build(self, _shape: Any) -> None:
            for dtype in self.dtypes:
                # TensorFlow cannot make a float8 from the integers that Keras's own initializer starts from.
                make = keras.initializers.Zeros() if not dtype.startswith("float8") else float8_zeros
                weight = self.add_weight((3, 5), make, dtype, trainable=False, autocast=False, name=dtype)
                setattr(self, dtype, weight)

        def call(self, x: Any) -> Any:
            return x

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "dtypes": list(self.dtypes)}

    return keras.Sequential([keras.Input((2,)), Bag(list(dtypes), name="bag")]), {"Bag": Bag}


# --- dtypes ---------------------------------------------------------------------------------------------


def test_every_dtype_has_the_size_that_its_code_says() -> None:
    for dtype in SAFETENSORS_CODES:
        size = span_of(values.code_of(dtype, "x"), (1,))
        assert numpy_dtype(dtype).itemsize == size, dtype


def test_a_dtype_that_the_format_lacks_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="cannot be stored") as caught:
        values.code_of("complex128", "layer/w")
    error = caught.value
    assert (error.path, error.found) == ("layer/w", "complex128")
    assert "float32" in str(error.expected)
    assert error.remedy


# --- bytes → tensor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0, 1, 4, 32], ids=["aligned", "odd", "four", "half a line"])
def test_bytes_become_the_tensor_that_they_stand_for(shift: int) -> None:
    for dtype, shape in itertools.product(SAFETENSORS_CODES, SHAPES):
        array = pattern(shape, dtype)
        tensor = values.as_tensor(placed(as_bytes(array), shift), shape, dtype)
        assert keras.backend.standardize_dtype(tensor.dtype) == dtype
        assert tuple(tensor.shape) == shape
        assert bits(tensor) == array.tobytes(), (dtype, shape)


def test_aligned_bytes_are_shared_and_not_copied() -> None:
    for dtype in ("float32", "float64", "float16", "bfloat16", "int32", "uint8", "int64", "bool", "complex64"):
        raw = placed(as_bytes(pattern((16, 16), dtype)), 0)
        tensor = values.as_tensor(raw, (16, 16), dtype)
        raw[:] = 1
        assert bits(tensor) == raw.tobytes(), dtype


@pytest.mark.parametrize("shape", [(), (0,), (16, 16), (300, 300)], ids=str)
def test_bytes_that_may_not_be_shared_are_copied_into_tensorflows_own_memory(shape: tuple[int, ...]) -> None:
    for dtype in SAFETENSORS_CODES:
        raw = placed(as_bytes(pattern(shape, dtype)), 0)
        before = raw.tobytes()
        tensor = values.as_tensor(raw, shape, dtype, share=False)
        raw[:] = 1
        assert bits(tensor) == before, dtype


@pytest.mark.parametrize("mmap", [True, False])
def test_a_copied_variable_is_updated_in_place_and_a_mapped_one_in_a_copy(tmp_path: Path, mmap: bool) -> None:
    model = keras.Sequential([keras.Input((256,)), keras.layers.Dense(256)])
    tiedio.save(model, tmp_path / "m.safetensors")
    kernel = tiedio.load(tmp_path / "m.safetensors", mmap=mmap).layers[0].kernel

    def address() -> int:
        return np.asarray(memoryview(kernel.value.read_value())).ctypes.data

    before = address()
    kernel.value.assign_add(tf.ones((256, 256)))
    assert (address() == before) is not mmap


def test_tensorflow_still_takes_float8_from_nobody() -> None:
    # If this fails, float8 can be shared too: see values.as_tensor and docs/mapping.md.
    from tensorflow.python.framework import dtypes

    with pytest.raises(tf.errors.InvalidArgumentError, match="not in the list of allowed values"):
        tf.bitcast(tf.constant([1], tf.uint8), dtypes.float8_e4m3fn)
    with pytest.raises(BufferError):
        pattern((4,), "float8_e4m3fn").__dlpack__()


def test_unaligned_bytes_are_copied() -> None:
    for dtype, shift in itertools.product(("float32", "bfloat16", "int64"), (1, 8, 32)):
        raw = placed(as_bytes(pattern((16, 16), dtype)), shift)
        before = raw.tobytes()
        tensor = values.as_tensor(raw, (16, 16), dtype)
        raw[:] = 1
        assert bits(tensor) == before, (dtype, shift)


def test_bytes_that_may_not_be_written_to_are_copied() -> None:
    raw = placed(as_bytes(pattern((16, 16), "float32")), 0)
    before = raw.tobytes()
    sealed = raw.view()
    sealed.flags.writeable = False
    tensor = values.as_tensor(sealed, (16, 16), "float32")
    raw[:] = 1
    assert bits(tensor) == before


def test_zeros_are_zeros_of_the_shape_and_dtype() -> None:
    shapes: list[tuple[int, ...]] = [(), (0,), (3,), (200, 200), (1 << 40, 0)]
    for shape, dtype in itertools.product(shapes, ("float32", "bfloat16", "bool", "int64", "float8_e5m2")):
        found = values.zeros(shape, dtype)
        assert tuple(found.shape) == shape
        assert keras.backend.standardize_dtype(found.dtype) == dtype
        assert not any(bits(found)), (shape, dtype)


def test_large_zeros_touch_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = [values.zeros((1 << 14, 1 << 14), "float32") for _ in range(4)]  # 1 GiB each
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 18  # KiB
    assert len(kept) == 4


# --- tensor → bytes -------------------------------------------------------------------------------------


def test_a_variable_gives_its_bytes() -> None:
    for dtype in SAFETENSORS_CODES:
        array = pattern((3, 5), dtype)
        variable = keras.Variable(array, dtype=dtype, trainable=False)
        assert as_bytes(values.array_of(variable)).tobytes() == array.tobytes(), dtype


def test_a_variable_gives_its_stored_value_inside_an_autocast_scope() -> None:
    variable = keras.Variable(np.array([1.00001], "float32"))
    with keras.src.backend.AutocastScope("float16"):
        assert values.array_of(variable).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_variable_is_read_without_a_copy(dtype: str) -> None:
    variable = keras.Variable(pattern((64, 64), dtype))
    one, other = values.array_of(variable), values.array_of(variable)
    assert one.ctypes.data == other.ctypes.data
    assert not one.flags.writeable or one.base is not None


def test_an_array_of_any_layout_gives_its_bytes_in_order() -> None:
    arrays: dict[str, Any] = {
        "transposed": np.arange(12, dtype="float32").reshape(3, 4).T,
        "strided": np.arange(24, dtype="int16").reshape(4, 6)[::2, 1::2],
        "reversed": np.arange(6, dtype="float64")[::-1],
        "fortran": np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
        "broadcast": np.broadcast_to(np.float32(3), (2, 3)),
        "scalar": np.float32(7),
        "big-endian": np.arange(3, dtype=">f4"),
    }
    for name, array in arrays.items():
        little = np.asarray(array).dtype.newbyteorder("<")
        assert as_bytes(values.array_of(array)).tobytes() == np.ascontiguousarray(array).astype(little).tobytes(), name


# --- fill -----------------------------------------------------------------------------------------------


def test_a_variable_is_filled_bit_for_bit() -> None:
    for dtype in SAFETENSORS_CODES:
        array = pattern((3, 5), dtype)
        variable = keras.Variable(np.zeros((3, 5)), dtype=dtype, trainable=False)
        values.fill(variable, placed(as_bytes(array), 0), "x")
        assert bits(variable) == array.tobytes(), dtype


def test_a_tensor_of_another_size_is_told_with_both_sizes() -> None:
    for count in (0, 59, 61):
        with pytest.raises(MismatchError) as caught:
            values.fill(keras.Variable(np.zeros((3, 5)), dtype="float32"), np.zeros(count, np.uint8), "layer/w")
        error = caught.value
        assert error.path == "layer/w"
        assert "60" in str(error.expected)
        assert str(count) in str(error.found)
        assert error.remedy


# --- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [True, False])
def test_all_dtypes_come_back_bit_for_bit(tmp_path: Path, mmap: bool) -> None:
    dtypes = list(SAFETENSORS_CODES)
    model, custom = model_of(*dtypes)
    for dtype in dtypes:
        values.fill(getattr(model.layers[0], dtype), as_bytes(pattern((3, 5), dtype)), dtype)
    tiedio.save(model, tmp_path / "m.safetensors")
    loaded = tiedio.load(tmp_path / "m.safetensors", custom_objects=custom, mmap=mmap)
    for dtype in dtypes:
        assert bits(getattr(loaded.layers[0], dtype)) == pattern((3, 5), dtype).tobytes(), dtype


def unaligned(source: Path, target: Path, shift: int) -> None:
    """Writes the same file with a header that is not padded, so that every tensor starts at an odd address."""
    raw = source.read_bytes()
    start = read_header(source).data_start
    text = raw[8:start].rstrip(b" ")
    text += b" " * ((shift - len(text) - 8) % 64)
    target.write_bytes(len(text).to_bytes(8, "little") + text + raw[start:])
    assert read_header(target).data_start % 64 == shift
    assert json.loads(text)


def small_model() -> Any:
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(4)])
    model.compile("sgd", "mse")
    return model


# In a process of its own: what is tested is that TensorFlow does not abort it.
USE_UNALIGNED = """
import numpy as np, tiedio
x = np.load("x.npy")
for mmap in (True, False):
    model = tiedio.load("odd.safetensors", mmap=mmap)
    model.predict(x, verbose=0)
    model.train_on_batch(x, np.zeros((8, 4), "float32"))
    np.save(f"{mmap}.npy", tiedio.load("odd.safetensors", mmap=mmap)(x))
"""


def test_a_file_whose_data_is_at_odd_addresses_runs_and_trains(tmp_path: Path) -> None:
    model = small_model()
    x = np.linspace(-1, 1, 64).reshape(8, 8).astype("float32")
    tiedio.save(model, tmp_path / "even.safetensors")
    unaligned(tmp_path / "even.safetensors", tmp_path / "odd.safetensors", 1)
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [sys.executable, "-c", USE_UNALIGNED],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for mmap in (True, False):
        assert np.allclose(np.load(tmp_path / f"{mmap}.npy"), model(x), atol=1e-6)


def test_a_file_at_any_address_gives_the_same_values(tmp_path: Path) -> None:
    model = small_model()
    tiedio.save(model, tmp_path / "even.safetensors")
    for shift in (1, 2, 4, 8, 32):
        unaligned(tmp_path / "even.safetensors", tmp_path / "odd.safetensors", shift)
        loaded = tiedio.load(tmp_path / "odd.safetensors")
        assert [w.tobytes() for w in loaded.get_weights()] == [w.tobytes() for w in model.get_weights()]


def test_training_a_mapped_model_does_not_write_to_its_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tiedio.save(small_model(), path)
    before = path.read_bytes()
    loaded = tiedio.load(path)
    kernel = loaded.layers[0].kernel.numpy()
    loaded.fit(np.ones((4, 8)), np.ones((4, 4)), epochs=3, verbose=0)
    loaded.layers[1].kernel.assign_add(np.ones((8, 4)))
    assert (loaded.layers[0].kernel.numpy() != kernel).any()
    assert path.read_bytes() == before
    again = tiedio.load(path)
    assert (again.layers[0].kernel.numpy() == kernel).all()


def test_two_models_mapped_from_one_file_do_not_see_each_other(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tiedio.save(small_model(), path)
    one, other = tiedio.load(path), tiedio.load(path)
    before = other.get_weights()
    one.train_on_batch(np.ones((4, 8)), np.ones((4, 4)))
    assert all((a == b).all() for a, b in zip(other.get_weights(), before, strict=True))


@pytest.mark.parametrize("mmap", [True, False])
def test_a_model_is_saved_over_the_file_that_it_was_loaded_from(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "m.safetensors"
    tiedio.save(small_model(), path)
    before = path.read_bytes()
    loaded = tiedio.load(path, mmap=mmap)
    tiedio.save(loaded, path)
    assert path.read_bytes() == before
    loaded.layers[0].kernel.assign_add(np.ones((8, 8)))
    weights = loaded.get_weights()
    tiedio.save(loaded, path)
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), weights, strict=True))
    assert all((a == b).all() for a, b in zip(tiedio.load(path, mmap=mmap).get_weights(), weights, strict=True))


def test_a_mapped_model_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = small_model()
    tiedio.save(model, path)
    loaded = tiedio.load(path)
    path.unlink()
    assert all((a == b).all() for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))


def test_bits_that_are_no_number_stay_as_they_are(tmp_path: Path) -> None:
    model, custom = model_of("float32", "float16", "bfloat16")
    odd = {
        "float32": np.array([0x7FC00001, 0xFFC00000, 0x80000000], "uint32").view("float32"),
        "float16": np.array([0x7E01, 0xFE00, 0x8000], "uint16").view("float16"),
        "bfloat16": np.array([0x7FC1, 0xFFC0, 0x8000], "uint16").view(ml_dtypes.bfloat16),
    }
    for dtype, array in odd.items():
        variable = getattr(model.layers[0], dtype)
        values.fill(variable, as_bytes(np.resize(array, (3, 5))), dtype)
    tiedio.save(model, tmp_path / "m.safetensors")
    loaded = tiedio.load(tmp_path / "m.safetensors", custom_objects=custom)
    for dtype, array in odd.items():
        assert bits(getattr(loaded.layers[0], dtype)) == np.resize(array, (3, 5)).tobytes()


def test_truth_values_that_are_neither_0_nor_1_are_refused_both_ways(tmp_path: Path) -> None:
    odd = np.array([0, 1, 2], np.uint8)
    variable = keras.Variable(np.zeros(3, bool), dtype="bool")
    with pytest.raises(FormatError, match="neither 0 nor 1"):
        values.fill(variable, odd, "mask")
    values.fill(variable, odd[:2].repeat([2, 1]), "mask")
    assert variable.numpy().tolist() == [False, False, True]
    (tensor,) = values.tensors_of([TensorSpec("mask", "bool", (3,))], {"mask": odd.view(bool)})
    with pytest.raises(ModelError, match="assign it anew"):
        tensor.data()
