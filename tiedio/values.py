"""Variable ↔ bytes: each tensor once, without a copy where the address allows it."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import ml_dtypes
import numpy as np

from tiedio import keras_api
from tiedio.container.single import as_bytes
from tiedio.container.writing import Tensor
from tiedio.dtypes import numpy_dtype
from tiedio.errors import DAMAGED, FormatError, MismatchError, ModelError
from tiedio.manifest import SAFETENSORS_CODES, Stored, TensorSpec

ALIGNMENT = 64
"""TensorFlow takes an unaligned buffer without a word and aborts the process later: check every address."""

_LAZY_BYTES = 1 << 16
_FLOAT8 = ("float8_e4m3fn", "float8_e5m2")

# What NumPy and TensorFlow both pass through DLPack as it is.
_SHARED = {
    "float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool",
    "complex64",
}  # fmt: skip


def code_of(dtype: str, path: str) -> str:
    """The safetensors code of a Keras dtype.

    Raises:
        ModelError: if safetensors has none.
    """
    if dtype not in SAFETENSORS_CODES:
        raise ModelError(
            "a tensor of this dtype cannot be stored",
            path=path,
            expected=", ".join(SAFETENSORS_CODES),
            found=dtype,
            remedy="cast the weight to a dtype that safetensors has",
        )
    return SAFETENSORS_CODES[dtype]


def array_of(value: Any) -> np.ndarray[Any, Any]:
    """The value of a variable, tensor or array as a NumPy array, read-only and without a copy where possible."""
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_array(value)
    return np.asarray(keras.ops.convert_to_numpy(value))


def _tensorflow_array(value: Any) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    if isinstance(value, keras.Variable):
        value = keras_api.raw_value(value)
    if isinstance(value, tf.Variable):
        value = value.read_value()
    if value.dtype == tf.bfloat16:
        bits = np.asarray(memoryview(tf.bitcast(value, tf.uint16)))
        return bits.view(ml_dtypes.bfloat16)
    try:
        return np.asarray(memoryview(value))
    except (BufferError, TypeError, ValueError):
        return np.asarray(value.numpy())


def hold(source: Any) -> Any:
    """The value of a variable as it is now, whatever is assigned to it afterwards, and without a copy; on TensorFlow.

    Anything else, and a variable of another backend, is given back as it is.
    """
    if isinstance(source, keras.Variable) and keras.backend.backend() == "tensorflow":
        return keras_api.raw_value(source).value()  # `read_value` adds an operation, and takes twice as long
    return source


def has_moved(variable: Any, held: Any) -> bool:
    """Whether a variable has another value than when it was held: TensorFlow then keeps it at another address."""
    now, then = array_of(variable), array_of(held)
    if now.dtype.hasobject:  # text, which is told of where it is written
        return not np.array_equal(now, then)
    return now.ctypes.data != then.ctypes.data and not np.array_equal(as_bytes(now), as_bytes(then))


def tensors_of(specs: Sequence[TensorSpec], sources: Mapping[str, Any]) -> list[Tensor]:
    """The tensors of a file; each value is taken from its source, by name, when its bytes are due."""
    return [
        Tensor(spec.name, code_of(spec.dtype, spec.name), spec.shape, _reader(sources[spec.name], spec.name))
        for spec in specs
    ]


def _reader(source: Any, path: str) -> Callable[[], Any]:
    def read() -> np.ndarray[Any, Any]:
        array = array_of(source)
        raw = as_bytes(array)
        if array.dtype == np.bool_ and _has_odd_truths(raw):
            raise ModelError(
                "a weight of truth values has a byte that is neither 0 nor 1",
                path=path,
                expected="values that were computed, or an array made with dtype bool",
                found=int(raw.max()),
                remedy="assign it anew: layer.weight.assign(array != 0)",
            )
        return raw

    return read


def _has_odd_truths(raw: np.ndarray[Any, Any]) -> bool:
    """Whether bytes that are to be truth values hold others: what code does with them is left to chance."""
    return bool(raw.size) and int(raw.max()) > 1


def _require_truths(raw: np.ndarray[Any, Any], dtype: str, path: str) -> None:
    if dtype == "bool" and _has_odd_truths(raw):
        raise FormatError(
            "a tensor of truth values has a byte that is neither 0 nor 1",
            path=path,
            expected="bytes 0 and 1, which is all that a processor may find there",
            found=int(raw.max()),
            remedy=DAMAGED,
        )


def constant_of(raw: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    """The array that the bytes of a constant stand for.

    Raises:
        FormatError: if they are truth values, and a byte is neither 0 nor 1.
    """
    _require_truths(raw, spec.dtype, spec.name)
    return raw.view(numpy_dtype(spec.dtype)).reshape(spec.shape)


def stored_array(read: Callable[[str], np.ndarray[Any, Any]], one: Stored) -> np.ndarray[Any, Any]:
    """What a hook stored, in memory of its own: the hook may keep it, or write to it."""
    return constant_of(read(one.tensor).copy(), one.spec)


def zeros(shape: Sequence[int], dtype: str) -> Any:
    """A tensor of zeros whose pages are not touched: they cost nothing until somebody writes to them."""
    size = int(np.prod(shape, dtype=object)) if len(shape) else 1
    if dtype in _FLOAT8:
        return as_tensor(np.zeros(size, np.uint8), shape, dtype)  # TensorFlow casts no integer to it
    if dtype not in SAFETENSORS_CODES or size * numpy_dtype(dtype).itemsize < _LAZY_BYTES:
        return keras.ops.zeros(tuple(shape), dtype=dtype)
    pages = mmap.mmap(-1, size * numpy_dtype(dtype).itemsize)
    return as_tensor(np.frombuffer(pages, np.uint8), shape, dtype)


def as_tensor(raw: np.ndarray[Any, Any], shape: Sequence[int], dtype: str, *, share: bool = True) -> Any:
    """Bytes as a backend tensor; on TensorFlow it shares the bytes if their address is a multiple of 64.

    Args:
        raw: one-dimensional `uint8` array of exactly the tensor's bytes.
        shape: shape of the tensor.
        dtype: Keras dtype of the tensor.
        share: whether it may share them. TensorFlow copies a shared buffer at the first update of a variable that has
            it, and updates one of its own in place from the start.
    """
    item = numpy_dtype(dtype)
    array = (aligned_copy(raw) if raw.ctypes.data % item.itemsize else raw).view(item).reshape(tuple(shape))
    if keras.backend.backend() != "tensorflow":
        return keras.ops.convert_to_tensor(array.copy(), dtype=dtype)
    import tensorflow as tf

    if dtype not in _SHARED and dtype != "bfloat16":
        return tf.constant(array, dtype=dtype)
    plain = array.view(np.uint16) if dtype == "bfloat16" else array
    if share and raw.size and raw.flags.writeable and array.ctypes.data % ALIGNMENT == 0:
        tensor = tf.experimental.dlpack.from_dlpack(plain.__dlpack__())
    else:
        tensor = _owned(plain)
    return tf.bitcast(tensor, tf.bfloat16) if dtype == "bfloat16" else tensor


def _owned(array: np.ndarray[Any, Any]) -> Any:
    """A copy in memory of TensorFlow's own."""
    import tensorflow as tf

    if array.nbytes < _LAZY_BYTES:
        return tf.constant(array)
    # `tf.constant` takes thirty times as long for a large array. Nobody else has this tensor yet. Elsewhere than on the
    # host, what NumPy sees would be a copy of it.
    with tf.device("CPU:0"):
        tensor = tf.raw_ops.Empty(shape=array.shape, dtype=array.dtype)
    ctypes.memmove(np.asarray(memoryview(tensor)).ctypes.data, array.ctypes.data, array.nbytes)
    return tensor


def aligned_copy(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy of bytes at an address that TensorFlow can share."""
    room = np.empty(raw.size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    room[start : start + raw.size] = raw
    return room[start : start + raw.size]


def fill(variable: Any, raw: np.ndarray[Any, Any], path: str, *, share: bool = True) -> None:
    """Gives a variable the value that its bytes stand for, without a cast.

    Args:
        variable: a `keras.Variable`.
        raw: its bytes.
        path: its slot, for errors.
        share: as for `as_tensor`.

    Raises:
        MismatchError: if the number of bytes is not the variable's.
        FormatError: if they are truth values, and a byte is neither 0 nor 1.
    """
    shape = tuple(int(size) for size in variable.shape)
    dtype = keras_api.storage_dtype(variable)
    expected = int(np.prod(shape, dtype=np.int64)) * numpy_dtype(dtype).itemsize
    if raw.size != expected:
        raise MismatchError(
            "the tensor has another size in bytes than its variable",
            path=path,
            expected=expected,
            found=raw.size,
            remedy=DAMAGED,
        )
    _require_truths(raw, dtype, path)
    tensor = as_tensor(raw, shape, dtype, share=share)
    if keras_api.give_storage(variable, tensor):
        return
    if keras.backend.backend() == "tensorflow":
        keras_api.raw_value(variable).assign(tensor)
    else:
        variable.assign(tensor)


def remember(variable: Any) -> Any:
    """The value that a variable has now, for `put_back`: on TensorFlow its own tensor and not a copy."""
    if keras.backend.backend() == "tensorflow":
        return keras_api.raw_value(variable).read_value()
    return np.array(keras.ops.convert_to_numpy(variable))  # JAX donates buffers: a held one dies


def put_back(variable: Any, remembered: Any) -> None:
    """Gives a variable the value that `remember` gave, bit for bit."""
    if keras.backend.backend() == "tensorflow":
        keras_api.raw_value(variable).assign(remembered)
    else:
        variable.assign(remembered)
