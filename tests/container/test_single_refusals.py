"""A tensor that cannot be written is refused by name, and the old file stays as it was."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tiedio.container.header import PAGE
from tiedio.container.single import open_reader, write_tensors
from tiedio.container.writing import Tensor
from tiedio.errors import ModelError, TiedioError

Array = NDArray[Any]


def refused(path: Path, tensors: list[Tensor], match: str) -> None:
    path.write_bytes(b"the old bytes")
    with pytest.raises(ModelError, match=match) as caught:
        write_tensors(path, tensors, {})
    assert caught.value.path
    assert caught.value.expected is not None
    assert caught.value.remedy
    assert path.read_bytes() == b"the old bytes"
    assert list(path.parent.iterdir()) == [path]


GOOD = Tensor("good", "F64", (1000,), lambda: bytes(8000))
WRONG_DATA: dict[str, tuple[Callable[[], Any], str]] = {
    "too few bytes": (lambda: bytes(7), "'?bad'?: gave other data.*expected 8 .*found 7 bytes"),
    "too many bytes": (lambda: np.zeros(3, "float32"), "found 12 bytes"),
    "no bytes": (lambda: b"", "found 0 bytes"),
    "a transposed array": (lambda: np.zeros((4, 2), "uint8").T, "not C-contiguous"),
    "every other byte": (lambda: memoryview(bytes(16))[::2], "not C-contiguous"),
    "no buffer": (lambda: [1, 2], "found list"),
    "text": (lambda: "12345678", "found str"),
    "None": (lambda: None, "found NoneType"),
}


@pytest.mark.parametrize("case", WRONG_DATA)
def test_data_is_refused_that_is(path: Path, case: str) -> None:
    data, match = WRONG_DATA[case]
    refused(path, [GOOD, Tensor("bad", "F32", (2,), data)], match)


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (Tensor("good", "U8", (1,), lambda: b"1"), "good: stands for two tensors"),
        (Tensor("__metadata__", "U8", (1,), lambda: b"1"), "reserved name"),
        (Tensor("a", "F4", (2,), lambda: b"1"), "a: cannot be stored.*F4"),
        (Tensor("a", "float32", (2,), lambda: bytes(8)), "a: cannot be stored.*float32"),
        (Tensor("a", "U8", (-1,), bytes), "a: cannot be stored.*-1"),
        (Tensor("a", "U8", (True,), lambda: b"1"), "a: cannot be stored.*True"),
        (Tensor("a", "U8", (np.int64(1),), lambda: b"1"), "a: cannot be stored"),  # type: ignore[arg-type]
        (Tensor("a", "U8", (2**30, 2**30), bytes), "a: cannot be stored.*1073741824"),
        (Tensor("a\ud800", "U8", (1,), lambda: b"1"), "cannot hold.*surrogates"),
    ],
)
def test_a_tensor_is_refused_that_the_format_cannot_hold(path: Path, tensor: Tensor, match: str) -> None:
    refused(path, [GOOD, tensor], match)


def test_metadata_is_refused_that_is_no_text(path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        write_tensors(path, [GOOD], {"a": 1})  # type: ignore[dict-item]
    assert caught.value.path == str(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError("lost"), KeyboardInterrupt(), MemoryError()])
def test_data_that_raises_in_the_middle_leaves_the_old_file(path: Path, error: BaseException) -> None:
    def fail() -> bytes:
        raise error

    path.write_bytes(b"the old bytes")
    with pytest.raises(type(error)) as caught:
        write_tensors(path, [GOOD, Tensor("later", "U8", (3,), fail)], {})
    assert caught.value is error
    assert path.read_bytes() == b"the old bytes"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_is_found_before_the_first_byte(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b"the old bytes")
    sizes = []

    def full(descriptor: int, start: int, size: int) -> None:
        sizes.append(size)
        raise OSError(28, "No space left on device")

    def never() -> bytes:
        raise AssertionError("asked for data although the disk is full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TiedioError, match=r"could not be written.*No space left.*free some space") as caught:
        write_tensors(path, [Tensor("a", "U8", (100_000,), never)], {})
    assert isinstance(caught.value.__cause__, OSError)
    assert sizes == [PAGE + 100_000]
    assert path.read_bytes() == b"the old bytes"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(95, "not supported"), OSError(22, "invalid"), None])
def test_a_file_system_that_cannot_reserve_space_will_do(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    if error is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:

        def refuse(*args: int) -> None:
            raise error

        monkeypatch.setattr(os, "posix_fallocate", refuse)
    raw = bytes(range(200))
    write_tensors(path, [Tensor("a", "U8", (200,), lambda: raw)], {})
    assert open_reader(path).bytes_of("a").tobytes() == raw
    assert path.stat().st_size == PAGE + 200


LIMITED = """
import os, resource, sys
from tiedio.container.single import write_tensors
from tiedio.container.writing import Tensor
from tiedio.errors import TiedioError
if sys.argv[2] == "without":
    del os.posix_fallocate
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    write_tensors(sys.argv[1], [Tensor("a", "U8", (5_000_000,), lambda: bytes(5_000_000))], {})
except TiedioError as error:
    print(type(error).__name__, error.__cause__.errno)
"""


@pytest.mark.parametrize("reserving", ["with", "without"])
def test_a_limit_on_file_size_is_told_and_the_old_file_stays(path: Path, reserving: str) -> None:
    path.write_bytes(b"the old bytes")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, str(path), reserving],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=60,
    )
    assert done.stdout == f"TiedioError {errno.EFBIG}\n", done.stderr
    assert path.read_bytes() == b"the old bytes"
    assert list(path.parent.iterdir()) == [path]
