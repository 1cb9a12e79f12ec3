"""When the system refuses one of a save's calls, whichever it is, the error is clear and the old file stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.faults import Layer, When, disk_says, raising
from tests.durability.scenes import SCENES, Scene, Version, litter_in, state_of
from tiedio.errors import PathError, TiedioError

CODES = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)

IN_PLACE = ("open folder", "sync folder", "close folder")
"""Calls after the one that puts the new file into its place."""

MINOR = ("look for litter", "unlink")
"""Calls that may fail, and nobody is bothered: litter stays for the next save."""

HINT = "tell the disk"
"""A call whose answer is not looked at: it cannot fail."""


@pytest.fixture(scope="session")
def pair(versions: tuple[Path, Path]) -> tuple[Version, Version]:
    return Version.of(versions[0]), Version.of(versions[1])


def cases(scene: Scene, folder: Path, pair: tuple[Version, Version]) -> Iterator[tuple[int, str, When, Path]]:
    """Each call of a save, before it is done and, where it can be, half done; each with a folder of its own."""
    layer = Layer()
    (folder / "first").mkdir()
    scene.save(scene.prepare(folder / "first", pair[0]), pair[1], layer)
    for number, name in enumerate(layer.calls):
        whens: tuple[When, ...] = ("before", "middle") if name == "write" else ("before",)
        for when in whens:
            if name == HINT:
                continue
            place = folder / f"{number}-{when}"
            place.mkdir()
            yield number, name, when, scene.prepare(place, pair[0])


@pytest.mark.parametrize(
    ("scene", "code"),
    [(scene, code) for scene in SCENES for code in (CODES if scene is SCENES[0] else CODES[:2])],
    ids=lambda one: one.name if isinstance(one, Scene) else errno.errorcode[one],
)
def test_an_error_of_the_system_at_any_call_is_told_and_the_old_file_stays(
    scene: Scene, code: int, pair: tuple[Version, Version], tmp_path: Path
) -> None:
    before = "old" if scene.old else "nothing"
    for number, name, when, path in cases(scene, tmp_path, pair):
        place = f"{when} {name} (call {number})"
        error: TiedioError | None = None
        try:
            scene.save(path, pair[1], Layer(number, when, disk_says(code)))
        except TiedioError as raised:
            error = raised
        state = state_of(path, *pair)
        # Where folders cannot be synced, or not by this user, nothing is wrong.
        quiet = name in MINOR or (name in IN_PLACE and code == errno.EACCES)
        assert (error is None) == quiet, place
        assert state == ("new" if quiet or name in IN_PLACE else before), place
        # A second name that could not be removed is left for the next save.
        assert len(litter_in(path.parent)) == (1 if name == "unlink" else 0), place
        if error is not None:
            assert error.path == str(path), place
            assert error.expected, place
            assert os.strerror(code) in str(error.found), place
            assert error.remedy, place
            assert ("is in place" in str(error)) == (name in IN_PLACE), place
            assert isinstance(error, PathError) == (code in (errno.EACCES, errno.EROFS) and name not in IN_PLACE), place
        pair[1].save(path)
        assert state_of(path, *pair) == "new", place
        assert litter_in(path.parent) == [], place


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_an_interrupt_that_python_raises_at_any_call_comes_through_and_leaves_a_whole_file(
    scene: Scene, pair: tuple[Version, Version], tmp_path: Path
) -> None:
    for number, name, when, path in cases(scene, tmp_path, pair):
        with pytest.raises(KeyboardInterrupt):
            scene.save(path, pair[1], Layer(number, when, raising(KeyboardInterrupt)))
        put = name in (*IN_PLACE, "unlink")
        assert state_of(path, *pair) == ("new" if put else "old" if scene.old else "nothing"), name
        # It struck where the second name was about to be removed, and the removal was made all the same.
        assert litter_in(path.parent) == [] or name == "unlink", name


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_a_system_that_takes_only_half_of_each_write_gets_the_rest(
    scene: Scene, pair: tuple[Version, Version], tmp_path: Path
) -> None:
    layer = Layer(short=True)
    path = scene.prepare(tmp_path, pair[0])
    scene.save(path, pair[1], layer)
    assert layer.calls.count("write") > 10
    assert state_of(path, *pair) == "new"
    assert litter_in(tmp_path) == []
