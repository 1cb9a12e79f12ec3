"""Replace a file all at once: whoever reads the path finds the old bytes or the new ones, never a mixture."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import stat
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
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], None], *, overwrite: bool = True) -> None:
    """Write a file beside its target, sync it, and put it in the target's place in one step.

    A file that is replaced hands its mode on; a symbolic link stays, and what it points to is replaced. If
    anything is raised before the new file is in place, an interrupt included, the old file is untouched and
    the temporary one is gone. Temporary files that dead processes left for this path are removed.

    Args:
        path: the file to write; its folder must exist.
        write: called once with the open temporary file, to write all bytes.
        overwrite: whether a file that is there may be replaced; if not, one that appears meanwhile stays too.

    Raises:
        PathError: the folder is missing or not writable, the path is a folder or a special file, or it exists
            and `overwrite` is false.
        TiedioError: the disk is full or fails; the `OSError` is its cause.

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
    _sync_folder(target.parent)


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
        if error.errno not in _NO_HARD_LINKS:
            raise
        _publish_by_claim(temporary, target, shown)
    else:
        temporary.unlink()


def _publish_by_claim(temporary: Path, target: Path, shown: str) -> None:
    """Claim the name with an empty file, then replace that: for file systems without hard links."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError as error:
        raise _already_there(shown) from error
    try:
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            target.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    # The new file is in place by now: where folders cannot be synced, the save must not look failed.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _temporary_prefix(name: str) -> str:
    raw = os.fsencode(name)
    if len(raw) > _LONGEST_NAME:
        name = hashlib.sha256(raw).hexdigest()[:32]
    return f".{name}.tiedio-tmp-"


def _sweep(folder: Path, prefix: str) -> None:
    """Remove what dead processes left for the target; one elsewhere counts as dead after a silent day."""
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
            if silent if match[1] != machine else not _alive(int(match[2])):
                place.unlink()


def _machine() -> str:
    """Return eight hex digits for this machine and process namespace: a pid means something only there."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""  # no such thing here
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
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
