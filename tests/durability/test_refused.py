"""Full disks, limits, quotas and rights as the system itself has them, in processes of their own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.scenes import NAME, Version, litter_in, state_of

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534

SAVING = """
import json, os, resource, sys
from pathlib import Path
from tests.durability.scenes import Version
from tiedio.errors import TiedioError
new, path, limit, user = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
version = Version.of(new)
version.save(new.with_name("first.safetensors"))  # all modules are there before rights are given up
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
try:
    version.save(path)
except TiedioError as error:
    code = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
    print(json.dumps([type(error).__name__, error.path, error.found, error.remedy, code]))
"""

ON_A_SMALL_DISK = """
mount -t tmpfs -o size="$1" none "$2" && shift && shift && exec "$@"
"""


def said(path: Path, new: Path, *, limit: int = 0, user: int = 0) -> list[object]:
    """What a save in a process of its own says: class, path, found, remedy and number of the error."""
    command = [sys.executable, "-W", "error", "-c", SAVING, str(new), str(path), str(limit), str(user)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="session")
def pair(versions: tuple[Path, Path]) -> tuple[Version, Version]:
    return Version.of(versions[0]), Version.of(versions[1])


@pytest.fixture
def path(pair: tuple[Version, Version]) -> Iterator[Path]:
    """An old file that a user without rights can reach, which nothing below pytest's own folder can be."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        path = Path(folder) / NAME
        pair[0].save(path)
        path.chmod(0o666)
        yield path
        Path(folder).chmod(0o777)


def powerless() -> int:
    """Root may do everything: then the save is made by a user who may not."""
    return NOBODY if os.getuid() == 0 else 0


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_limit_on_the_size_of_files_is_told(
    share: float, path: Path, pair: tuple[Version, Version], versions: tuple[Path, Path]
) -> None:
    kind, where, _, remedy, code = said(path, versions[1], limit=int(pair[1].size * share))
    assert (kind, where, code) == ("TiedioError", str(path), errno.EFBIG)
    assert remedy == "raise the limit on file size, or save to another file system"
    assert state_of(path, *pair) == "old"
    assert litter_in(path.parent) == []


def test_a_folder_without_the_right_to_write_is_told(
    path: Path, pair: tuple[Version, Version], versions: tuple[Path, Path]
) -> None:
    path.parent.chmod(0o555)
    kind, where, found, remedy, code = said(path, versions[1], user=powerless())
    assert (kind, where, code) == ("PathError", str(path), errno.EACCES)
    assert "Permission denied" in str(found)
    assert remedy == "check the folder and its permissions, or save to another path"
    assert state_of(path, *pair) == "old"
    assert litter_in(path.parent) == []


def test_a_write_protected_file_is_kept_though_its_folder_may_be_written_to(
    path: Path, pair: tuple[Version, Version], versions: tuple[Path, Path]
) -> None:
    path.chmod(0o444)
    kind, where, found, remedy, _ = said(path, versions[1], user=powerless())
    assert (kind, where, found) == ("PathError", str(path), "a write-protected one")
    assert remedy == "save to another path, or lift the protection"
    assert state_of(path, *pair) == "old"
    assert litter_in(path.parent) == []


def test_a_folder_that_may_be_written_to_and_not_read_takes_a_save(
    path: Path, pair: tuple[Version, Version], versions: tuple[Path, Path]
) -> None:
    path.parent.chmod(0o333)
    command = [sys.executable, "-c", SAVING, str(versions[1]), str(path), "0", str(powerless())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == ""
    path.parent.chmod(0o777)
    assert state_of(path, *pair) == "new"


def test_a_full_disk_is_told(tmp_path: Path, pair: tuple[Version, Version], versions: tuple[Path, Path]) -> None:
    inside = """
import errno, json, os, sys
from pathlib import Path
from tests.durability.scenes import NAME, Version, litter_in, state_of
from tiedio.errors import TiedioError
old, new = (Version.of(Path(name)) for name in sys.argv[1:3])
path = Path(sys.argv[3]) / NAME
old.save(path)
try:
    new.save(path)
except TiedioError as error:
    assert error.__cause__.errno == errno.ENOSPC, error
    print(error.remedy, state_of(path, old, new), litter_in(path.parent))
"""
    size = int(pair[1].size * 1.7)  # one fits, and not two
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", ON_A_SMALL_DISK, "sh"]
    small_disk = [*prefix, str(size), str(tmp_path)]
    if subprocess.run([*small_disk, "true"], capture_output=True, check=False).returncode != 0:
        # Every errno at every call is raised by test_errors.py, a full disk's too; here it is only the real one.
        pytest.skip("this machine lets no user mount a small disk of their own")
    command = [*small_disk, sys.executable, "-W", "error", "-c", inside, *map(str, versions), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "free some space, or save to another disk old []\n"
