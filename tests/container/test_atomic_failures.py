"""When a file cannot be replaced, the old one is still there byte for byte, and nothing else is."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from tiedio.container import atomic
from tiedio.container.atomic import replace_file
from tiedio.errors import ModelError, NoSuchFileError, PathError, TiedioError

OLD, NEW = b"the old bytes", b"the new bytes, which are longer"


def write_new(file: BinaryIO) -> None:
    file.write(NEW)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def raiser(error: BaseException) -> Callable[..., None]:
    def fail(*args: object, **options: object) -> None:
        raise error

    return fail


def assert_untouched(path: Path) -> None:
    assert path.read_bytes() == OLD
    assert names(path.parent) == [path.name]


def assert_complete(error: TiedioError, path: Path) -> None:
    assert error.path == str(path)
    assert error.found is not None
    assert error.remedy


# Failures in the middle.


def fail_in_the_middle(error: BaseException) -> Callable[[BinaryIO], None]:
    def write(file: BinaryIO) -> None:
        file.write(NEW * 100_000)  # more than any buffer: part of it is on the disk
        raise error

    return write


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), MemoryError()])
@pytest.mark.parametrize("overwrite", [True, False])
def test_what_the_writer_raises_comes_through_and_the_old_file_stays(
    tmp_path: Path, error: BaseException, overwrite: bool
) -> None:
    path = tmp_path / "model.bin"
    if overwrite:
        path.write_bytes(OLD)
    with pytest.raises(type(error)) as caught:
        replace_file(path, fail_in_the_middle(error), overwrite=overwrite)
    assert caught.value is error
    assert names(tmp_path) == (["model.bin"] if overwrite else [])
    assert not overwrite or path.read_bytes() == OLD


@pytest.mark.parametrize("error", [ModelError("no", path="dense/kernel"), NoSuchFileError("no", path="vocabulary")])
def test_an_error_of_ours_from_the_writer_comes_through_as_it_is(old: Path, error: TiedioError) -> None:
    with pytest.raises(type(error)) as caught:
        replace_file(old, fail_in_the_middle(error))
    assert caught.value is error
    assert_untouched(old)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EFBIG, "raise the limit"),
        (errno.EIO, "check the disk"),
    ],
)
def test_the_remedy_fits_what_the_disk_says(old: Path, code: int, remedy: str) -> None:
    with pytest.raises(TiedioError) as caught:
        replace_file(old, fail_in_the_middle(OSError(code, os.strerror(code))))
    assert str(caught.value.remedy).startswith(remedy)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ESTALE])
@pytest.mark.parametrize("place", ["write", "fsync", "replace"])
def test_a_failing_disk_is_told_and_the_old_file_stays(
    old: Path, monkeypatch: pytest.MonkeyPatch, code: int, place: str
) -> None:
    cause = OSError(code, os.strerror(code))
    write = fail_in_the_middle(cause) if place == "write" else write_new
    if place != "write":
        monkeypatch.setattr(os, place, raiser(cause))
    with pytest.raises(TiedioError, match="could not be written") as caught:
        replace_file(old, write)
    assert not isinstance(caught.value, PathError)
    assert caught.value.__cause__ is cause
    assert_complete(caught.value, old)
    assert_untouched(old)


def test_a_disk_that_fails_at_the_last_flush_leaves_the_old_file(old: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(NEW)  # still in the buffer
        with old.open("rb") as readable:
            os.dup2(readable.fileno(), file.fileno())  # from here on, writing fails

    with pytest.raises(TiedioError) as caught:
        replace_file(old, write)
    assert isinstance(caught.value.__cause__, OSError)
    assert_untouched(old)


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_an_interrupt_late_in_the_save_leaves_the_old_file(
    old: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(os, place, raiser(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        replace_file(old, write_new)
    assert_untouched(old)


LIMITED = """
import resource, sys
from tiedio.container.atomic import replace_file
from tiedio.errors import TiedioError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    replace_file(sys.argv[1], lambda file: file.write(bytes(5_000_000)) and None)
except TiedioError as error:
    print(type(error).__name__, error.__cause__.errno, error.remedy)
"""


def run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_limit_on_file_size_is_told_and_the_old_file_stays(old: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    told = run_python(LIMITED, str(old))
    assert told.startswith(f"TiedioError {errno.EFBIG} raise the limit")
    assert_untouched(old)


# Processes that die, and what they leave.

DYING = """
import os, signal, sys, time
from tiedio.container.atomic import replace_file
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background begins deaf to it
def write(file):
    file.write(bytes(3_000_000))
    file.flush()
    print("there", flush=True)
    time.sleep(60)
replace_file(sys.argv[1], write)
"""


@pytest.fixture
def half_way(old: Path) -> Callable[[], subprocess.Popen[str]]:
    """Start a process that is in the middle of a save to the old file."""

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", DYING, str(old)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        return process

    return start


def test_a_killed_save_leaves_the_old_file_and_the_next_save_cleans_up(
    old: Path, half_way: Callable[[], subprocess.Popen[str]]
) -> None:
    with half_way() as process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert old.read_bytes() == OLD
    assert len(names(old.parent)) == 2
    replace_file(old.with_name("other.safetensors"), write_new)
    assert len(names(old.parent)) == 3  # the leftover of another target is not its business
    replace_file(old, write_new)
    assert names(old.parent) == [old.name, "other.safetensors"]


def test_a_save_that_is_still_running_elsewhere_is_left_alone(
    old: Path, half_way: Callable[[], subprocess.Popen[str]]
) -> None:
    with half_way() as process:
        temporary = names(old.parent)[0]
        replace_file(old, write_new)
        assert names(old.parent) == [temporary, old.name]
        process.send_signal(signal.SIGINT)  # and an interrupted save cleans up after itself
        process.wait(30)
    assert old.read_bytes() == NEW
    assert names(old.parent) == [old.name]


def test_leftovers_of_another_machine_are_kept_for_a_day(old: Path) -> None:
    fresh = old.with_name(f".{old.name}.tiedio-tmp-00000000-1-0123456789abcdef")
    stale = old.with_name(f".{old.name}.tiedio-tmp-00000000-2-0123456789abcdef")
    foreign = old.with_name(f".{old.name}.tiedio-tmp-notes")
    for path in (fresh, stale, foreign):
        path.write_bytes(b"")
        os.utime(path, (0, 0) if path != fresh else None)
    replace_file(old, write_new)
    assert names(old.parent) == sorted([fresh.name, foreign.name, old.name])


def test_a_leftover_under_our_own_process_number_is_removed_as_a_container_gives_the_same_one_again(old: Path) -> None:
    mine = old.with_name(f".{old.name}.tiedio-tmp-{atomic._machine()}-{os.getpid()}-0123456789abcdef")
    mine.write_bytes(b"")
    seen = []

    def write(file: BinaryIO) -> None:
        seen.extend(names(old.parent))
        replace_file(old, write_new)  # another save of this process leaves the first one alone
        seen.extend(names(old.parent))
        file.write(NEW)

    replace_file(old, write)
    assert mine.name not in seen
    assert len(seen) == 4  # the old file and this one, before the other save and after it
    assert names(old.parent) == [old.name]


def test_a_leftover_under_the_number_of_a_living_process_is_kept_for_a_day(old: Path) -> None:
    theirs = old.with_name(f".{old.name}.tiedio-tmp-{atomic._machine()}-{os.getppid()}-0123456789abcdef")
    theirs.write_bytes(b"")
    replace_file(old, write_new)
    assert theirs.exists()
    os.utime(theirs, (0, 0))
    replace_file(old, write_new)
    assert names(old.parent) == [old.name]


def test_a_leftover_that_cannot_be_removed_does_not_stop_the_save(old: Path) -> None:
    folder = old.with_name(f".{old.name}.tiedio-tmp-00000000-2-0123456789abcdef")
    folder.mkdir()
    os.utime(folder, (0, 0))
    replace_file(old, write_new)
    assert old.read_bytes() == NEW


# Places that cannot be written to.


def never(file: BinaryIO) -> None:
    raise AssertionError("the writer was called although the target was refused")


def assert_refused(path: Path | str, match: str) -> None:
    with pytest.raises(PathError, match=match) as caught:
        replace_file(path, never)
    assert caught.value.path == str(path).replace("\0", "\\0")
    assert caught.value.remedy


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "no" / "model.bin", "its folder is missing; expected a folder .*no, found nothing")


def test_a_file_for_a_folder_is_refused(old: Path) -> None:
    assert_refused(old / "model.bin", "its folder is missing; expected a folder .*, found a file")


def test_a_path_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, "found a folder")
    assert_refused(f"{tmp_path}/new/", "found a folder")
    assert names(tmp_path) == []


def test_a_special_file_is_refused_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert_refused(pipe, "found a special file")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert_refused("/dev/null", "found a special file")


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("link")
    assert_refused(link, "leads in a circle")
    assert link.is_symlink()


def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / ("x" * 300), "too long")


def test_a_path_with_a_null_character_is_refused() -> None:
    assert_refused("a\0b", "not a path")


def test_a_folder_that_takes_no_files_is_refused() -> None:
    assert_refused("/proc/tiedio.safetensors", "cannot be written")  # even for root


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_without_permission_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    opened = os.open

    def no_new_files(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), path)
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", no_new_files)
    assert_refused(old, "cannot be written.*permissions")
    assert_untouched(old)


def test_a_write_protected_file_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda *args, **options: False)  # root may write to anything
    assert_refused(old, "write-protected")
    assert_untouched(old)


def test_a_pid_that_nobody_has_is_dead_and_ours_is_alive() -> None:
    assert atomic._alive(os.getpid())
    assert atomic._alive(os.getppid())
    assert not atomic._alive(9_999_999_999)
