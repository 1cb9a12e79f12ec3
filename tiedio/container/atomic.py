"""Replace a file all at once: whoever reads the path finds the old bytes or the new ones, never a mixture."""

from __future__ import annotations

import ctypes
import errno
import functools
import hashlib
import os
import platform
import re
import secrets
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tiedio.errors import PathError, TiedioError

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER = 1 << 20  # small tensors are gathered; larger buffers pass it by without a copy
_LEFTOVER = re.compile(r"([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{16}")  # machine, pid, random
_LONGEST_NAME = 160  # bytes; a file system takes 255, and the temporary name adds up to 50
_STALE = 24 * 60 * 60.0  # seconds

# What is wrong with the place, not with the disk.
_PLACE = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EBUSY,
    }
)
_NO_SUCH_CALL = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
# What a system says that cannot sync folders, or does not let this user; all else is a sync that failed.
_NO_FOLDER_SYNC = frozenset(
    {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EISDIR, errno.EACCES, errno.EPERM}
)
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # of Linux
_MINE: set[str] = set()  # temporary files of saves that this process is at


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], None], *, overwrite: bool = True) -> None:
    """Write a file beside its target, sync it, and put it in the target's place in one step.

    A file that is replaced hands its mode on; a symbolic link stays, and what it points to is replaced. If
    anything is raised before the new file is in place, an interrupt included, the old file is untouched and
    the temporary one is gone. Temporary files that dead processes left for this path are removed. docs/durability.md
    says what of this holds when the process is killed, or the machine stops.

    Args:
        path: the file to write; its folder must exist.
        write: called once with the open temporary file, to write all bytes.
        overwrite: whether a file that is there may be replaced; if not, one that appears meanwhile stays too.

    Raises:
        PathError: the folder is missing or not writable, the path is a folder or a special file, or it exists
            and `overwrite` is false.
        TiedioError: the disk is full or fails; the `OSError` is its cause. If it is the sync of the folder that
            fails, the new file is in place already, and the error says so.

    Example:
        >>> import pathlib, tempfile
        >>> from tiedio.container.atomic import replace_file
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "note.bin"
        >>> def write(file):
        ...     _ = file.write(b"one")
        >>> replace_file(path, write)
        >>> path.read_bytes()
        b'one'
    """
    shown = os.fsdecode(path)
    target, mode = _check_target(shown, overwrite)
    prefix = _temporary_prefix(target.name)
    _sweep(target.parent, prefix)
    temporary = target.parent / f"{prefix}{_machine()}-{os.getpid()}-{secrets.token_hex(8)}"
    try:
        _MINE.add(temporary.name)
        _write_synced(temporary, write, mode)
        if overwrite:
            temporary.replace(target)
        else:
            _publish_new(temporary, target, shown)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and not isinstance(error, TiedioError):
            raise _explained(error, shown) from error
        raise
    finally:
        _MINE.discard(temporary.name)
    _sync_folder(target.parent, shown)


def _check_target(shown: str, overwrite: bool) -> tuple[Path, int | None]:
    """Return the real place behind the path, and the mode of the file there, if there is one."""
    try:
        target = Path(os.path.realpath(shown))
        folder = target.parent
        circle = target.is_symlink()
        found = None if folder.is_dir() else "a file" if folder.exists() else "nothing there"
        old = None if circle else _status(target)
    except OSError as error:
        raise _explained(error, shown) from error
    except ValueError as error:  # a null character
        raise PathError(
            "not a path",
            path=shown.replace("\0", "\\0"),
            remedy="pass another path",
            expected="a path without NUL characters",
            found=repr(shown),
        ) from error
    if circle:
        raise PathError(
            "symbolic link that leads in a circle",
            path=shown,
            remedy="remove the link",
            expected="a link that leads to a file",
            found="a circle of links",
        )
    if found is not None:
        raise PathError(
            "cannot be written: its folder is missing",
            path=shown,
            expected=f"a folder {folder}",
            found=found,
            remedy="create the folder first, or save to another path",
        )
    if shown.endswith(os.sep) or (old is not None and not stat.S_ISREG(old.st_mode)):
        kind = "a folder" if old is None or stat.S_ISDIR(old.st_mode) else "a special file"
        raise PathError(
            "cannot be written", path=shown, expected="a file", found=kind, remedy="give the path of a file"
        )
    if old is None:
        return target, None
    if not overwrite:
        raise _already_there(shown)
    # A rename needs no permission on the file itself; someone who protected it wants it kept.
    if not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PathError(
            "cannot be replaced",
            path=shown,
            expected="a writable file",
            found="a write-protected one",
            remedy="save to another path, or lift the protection",
        )
    return target, stat.S_IMODE(old.st_mode)


def _status(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write_synced(temporary: Path, write: Callable[[BinaryIO], None], mode: int | None) -> None:
    def create(name: str, flags: int) -> int:
        # While it grows, the new file is no more readable than the one that it replaces.
        return os.open(name, flags, 0o666 if mode is None else 0o600)

    with open(temporary, "xb", buffering=_BUFFER, opener=create) as file:
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _publish_new(temporary: Path, target: Path, shown: str) -> None:
    """Give the temporary file its name unless something has that name by now."""
    try:
        os.link(temporary, target)
    except FileExistsError as error:
        raise _already_there(shown) from error
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise
        _publish_without_links(temporary, target, shown)
    else:
        with suppress(OSError):  # the file is in place: a second name that stays is litter, and no failure
            temporary.unlink()


def _publish_without_links(temporary: Path, target: Path, shown: str) -> None:
    try:
        _rename_new(temporary, target)
    except FileExistsError as error:
        raise _already_there(shown) from error
    except OSError as error:
        if error.errno not in _NO_SUCH_CALL:
            raise
        _publish_by_claim(temporary, target, shown)


def _rename_new(temporary: Path, target: Path) -> None:
    """Rename a file unless something has the new name, in one call of the system."""
    if os.name == "nt":  # there, this is what a rename is
        temporary.rename(target)
        return
    call = _renameat2()
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(_AT_FDCWD, os.fsencode(temporary), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    call: Callable[[int, bytes, int, bytes, int], int] | None
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return call


def _publish_by_claim(temporary: Path, target: Path, shown: str) -> None:
    """Claim the name with an empty file, then replace that: where the system has no call that does both.

    A process that is killed between the two leaves the empty file.
    """
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary.replace(target)
    except FileExistsError as error:
        raise _already_there(shown) from error
    except BaseException:
        # An interrupt may come between the system's answer and any note of it here: what is empty is the claim.
        with suppress(OSError):
            if target.stat().st_size == 0:
                target.unlink()
        raise


def _sync_folder(folder: Path, shown: str) -> None:
    """Make the new name last, too, where the system can sync a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NO_FOLDER_SYNC:
            return
        raise TiedioError(
            "the new file is in place, but its folder could not be synced: if the machine stops now, what stood there "
            "before may be back",
            path=shown,
            expected="a folder that can be synced",
            found=str(error),
            remedy="check the disk, and save again",
        ) from error


def _temporary_prefix(name: str) -> str:
    raw = os.fsencode(name)
    if len(raw) > _LONGEST_NAME:
        name = hashlib.sha256(raw).hexdigest()[:32]
    return f".{name}.tiedio-tmp-"


def _sweep(folder: Path, prefix: str) -> None:
    """Remove what dead processes left for the target; one that cannot be asked is dead after a silent day.

    A process number says little: in a container it is the same after every restart. So under this process's own
    number it is dead unless it is one of its saves, and under that of a living one after a silent day, too.
    """
    machine = _machine()
    try:
        with os.scandir(folder) as items:
            names = [item.name for item in items if item.name.startswith(prefix)]
    except OSError:
        return
    for name in names:
        match = _LEFTOVER.fullmatch(name, len(prefix))
        if match is None:
            continue
        place = folder / name
        with suppress(OSError):
            silent = time.time() - place.lstat().st_mtime > _STALE
            if silent or (match[1] == machine and not _alive(int(match[2]), name)):
                place.unlink()


def _machine() -> str:
    """Return eight hex digits for this machine and process namespace: a pid means something only there."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""  # no such thing here
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _alive(pid: int, name: str = "") -> bool:
    """Whether a process is there that may be writing the temporary file of this name."""
    if name and pid == os.getpid():
        return name in _MINE
    if os.name == "nt":  # there, signal 0 is not a question but Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _already_there(shown: str) -> PathError:
    return PathError(
        "already exists",
        path=shown,
        expected="a new file, as overwrite=False",
        found="a file",
        remedy="pass overwrite=True or another path",
    )


def _explained(error: OSError, shown: str) -> TiedioError:
    if error.errno in _PLACE:
        return PathError(
            "cannot be written",
            path=shown,
            expected="a file in a folder that may be written to",
            found=str(error),
            remedy="check the folder and its permissions, or save to another path",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free some space, or save to another disk"
    elif error.errno == errno.EFBIG:
        remedy = "raise the limit on file size, or save to another file system"
    else:
        remedy = "check the disk, or save to another one"
    return TiedioError(
        "could not be written; what stood there is untouched",
        path=shown,
        found=str(error),
        remedy=remedy,
        expected="a file that can be written and synced",
    )
