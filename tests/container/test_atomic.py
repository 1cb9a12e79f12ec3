"""A file is replaced whole, in one step, and keeps what it had."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from tiedio.container import atomic
from tiedio.container.atomic import replace_file
from tiedio.errors import PathError, TiedioError

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


# What a user sees when all goes well.


def test_a_new_file_has_the_bytes_and_the_mode_that_umask_says(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    before = os.umask(0o027)
    try:
        replace_file(path, write_new)
    finally:
        os.umask(before)
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o751])
def test_a_file_that_is_replaced_keeps_its_mode(old: Path, mode: int) -> None:
    old.chmod(mode)
    seen = []

    def write(file: BinaryIO) -> None:
        seen.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
        file.write(NEW)

    replace_file(old, write)
    assert old.read_bytes() == NEW
    assert stat.S_IMODE(old.stat().st_mode) == mode
    assert seen == [mode]


def test_while_it_grows_a_new_file_is_for_its_owner_only_if_the_old_one_was(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.chmod(0o600)
    seen = []
    fchmod = os.fchmod

    def note(descriptor: int, mode: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fchmod(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", note)
    before = os.umask(0)
    try:
        replace_file(old, write_new)
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_no_descriptor_stays_open(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, closed = [], []
    real_open, real_close = os.open, os.close

    def note_open(path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> int:
        opened.append(real_open(path, flags, mode))
        return opened[-1]

    def note_close(descriptor: int) -> None:
        closed.append(descriptor)
        real_close(descriptor)

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "close", note_close)
    replace_file(old, write_new)
    assert len(opened) == 2  # the file, closed by its own object, and the folder
    assert closed == opened[1:]


def test_the_temporary_file_lies_beside_the_target_and_names_it(old: Path) -> None:
    seen: list[str] = []

    def write(file: BinaryIO) -> None:
        seen.extend(names(old.parent))

    replace_file(old, write)
    assert len(seen) == 2
    assert seen[0].startswith(f".{old.name}.tiedio-tmp-")
    assert f"-{os.getpid()}-" in seen[0]


def test_bytes_are_synced_before_the_file_is_put_in_place_and_the_folder_after(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        steps.append("sync folder" if stat.S_ISDIR(status.st_mode) else f"sync {status.st_size} bytes")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        steps.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    replace_file(old, write_new)
    assert steps == [f"sync {len(NEW)} bytes", "replace", "sync folder"]


def test_a_path_may_be_text_or_bytes_and_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace_file("a.bin", write_new)
    replace_file(os.fsencode(tmp_path / "b.bin"), write_new)  # type: ignore[arg-type]  # works, not promised
    assert names(tmp_path) == ["a.bin", "b.bin"]


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "a b\nc", "-"])
def test_any_name_that_the_file_system_takes_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    replace_file(path, write_new)
    replace_file(path, write_new)
    assert path.read_bytes() == NEW
    assert names(tmp_path) == [name]


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    real, link = tmp_path / "real" / "model.bin", tmp_path / "links" / "latest.bin"
    real.write_bytes(OLD)
    link.symlink_to("../real/model.bin")
    replace_file(link, write_new)
    assert link.readlink() == Path("../real/model.bin")
    assert real.read_bytes() == NEW
    assert not real.is_symlink()
    assert names(tmp_path / "real") == ["model.bin"]
    assert names(tmp_path / "links") == ["latest.bin"]


def test_a_link_to_a_file_that_is_not_there_yet_creates_it_there(tmp_path: Path) -> None:
    link = tmp_path / "latest.bin"
    link.symlink_to("model.bin")
    replace_file(link, write_new, overwrite=False)
    assert link.is_symlink()
    assert (tmp_path / "model.bin").read_bytes() == NEW
    assert names(tmp_path) == ["latest.bin", "model.bin"]


def test_a_failed_sync_of_the_folder_does_not_make_the_save_look_failed(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no such thing here")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    replace_file(old, write_new)
    assert old.read_bytes() == NEW


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_whose_sync_fails_is_told_of_and_the_new_file_is_in_place(
    old: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fsync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    with pytest.raises(TiedioError, match="the new file is in place, but its folder could not be synced") as caught:
        replace_file(old, write_new)
    assert_complete(caught.value, old)
    assert old.read_bytes() == NEW
    assert names(old.parent) == [old.name]


def test_a_reader_sees_the_old_bytes_or_the_new_ones_while_two_writers_race(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    contents = [letter * 100_000 for letter in (b"a", b"b")]
    path.write_bytes(contents[0])
    errors: list[BaseException] = []

    def save(content: bytes) -> None:
        def write(file: BinaryIO) -> None:
            file.write(content[:50_000])
            file.flush()
            file.write(content[50_000:])

        try:
            for _ in range(30):
                replace_file(path, write)
        except BaseException as error:  # noqa: BLE001  # shown below
            errors.append(error)

    writers = [threading.Thread(target=save, args=[content]) for content in contents]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_bytes())
        time.sleep(0.001)
    assert errors == []
    assert seen <= set(contents)
    assert names(tmp_path) == ["model.bin"]


# Not overwriting.


def never(file: BinaryIO) -> None:
    raise AssertionError("the writer was called although the target was refused")


def test_without_overwriting_an_existing_file_is_refused_before_anything_is_written(old: Path) -> None:
    with pytest.raises(PathError, match="already exists") as caught:
        replace_file(old, never, overwrite=False)
    assert_complete(caught.value, old)
    assert "overwrite=True" in str(caught.value.remedy)
    assert_untouched(old)


WITHOUT = [(), ("link",), ("link", "rename")]


def take_away(monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...], code: int) -> None:
    """Make the file system one that does not have these calls."""
    if "link" in calls:
        monkeypatch.setattr(os, "link", raiser(OSError(code, "no links here")))
    if "rename" in calls:
        monkeypatch.setattr(atomic, "_rename_new", raiser(OSError(code, "no such rename here")))


@pytest.mark.parametrize("without", WITHOUT)
def test_without_overwriting_a_new_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: tuple[str, ...]
) -> None:
    take_away(monkeypatch, without, errno.EPERM)
    path = tmp_path / "model.bin"
    replace_file(path, write_new, overwrite=False)
    assert path.read_bytes() == NEW
    assert path.stat().st_nlink == 1
    assert names(tmp_path) == ["model.bin"]


@pytest.mark.parametrize("without", WITHOUT)
def test_without_overwriting_a_file_that_appears_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: tuple[str, ...]
) -> None:
    take_away(monkeypatch, without, errno.EOPNOTSUPP)
    path = tmp_path / "model.bin"

    def write(file: BinaryIO) -> None:
        file.write(NEW)
        path.write_bytes(OLD)

    with pytest.raises(PathError, match="already exists"):
        replace_file(path, write, overwrite=False)
    assert_untouched(path)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_without_hard_links_a_failure_leaves_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    take_away(monkeypatch, ("link", "rename"), errno.ENOSYS)
    monkeypatch.setattr(os, "replace", raiser(error))
    with pytest.raises((TiedioError, KeyboardInterrupt)):
        replace_file(tmp_path / "model.bin", write_new, overwrite=False)
    assert names(tmp_path) == []


def test_without_overwriting_a_failing_link_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", raiser(OSError(errno.EIO, "broken")))
    with pytest.raises(TiedioError, match="could not be written"):
        replace_file(tmp_path / "model.bin", write_new, overwrite=False)
    assert names(tmp_path) == []


def test_without_overwriting_a_second_name_that_cannot_be_removed_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.bin"
    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", raiser(OSError(errno.EIO, "broken")))
        replace_file(path, write_new, overwrite=False)
    assert path.read_bytes() == NEW
    replace_file(path, write_new)  # and the next save removes it
    assert names(tmp_path) == ["model.bin"]
