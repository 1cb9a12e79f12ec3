"""A save that is killed or interrupted, at whatever moment, leaves one whole version, and the next save cleans up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.durability.scenes import SCENES

# What a save does; of some calls it makes several.
STEPS = {
    "replace": ["look for litter", "create", "mode", "reserve", "write", "proof", "sync", "close", "replace"],
    "first save": ["look for litter", "create", "reserve", "write", "proof", "sync", "close", "replace"],
    "overwrite=False": ["look for litter", "create", "reserve", "write", "proof", "sync", "close", "link", "unlink"],
}
LAST = ["open folder", "sync folder", "close folder"]


def assert_whole(found: list[dict[str, Any]], least: int, scenes: int = len(SCENES)) -> None:
    assert [one for one in found if one["problem"]] == []
    assert len(found) >= least
    assert {one["scene"] for one in found} == {scene.name for scene in SCENES[:scenes]}
    states = {one["state"] for one in found if one["scene"] == "replace"}
    assert states == {"old", "new"}  # some were struck before, some after
    calls = {one["scene"]: one["calls"] for one in found if one["moment"] != "a random moment"}
    for name in STEPS.keys() & calls.keys():
        assert [call for call in dict.fromkeys(calls[name]) if call != "tell the disk"] == [*STEPS[name], *LAST]


def test_a_save_that_is_killed_at_any_of_its_calls_or_at_random_leaves_a_whole_file(
    outcomes: Callable[..., list[dict[str, Any]]],
) -> None:
    found = outcomes("kills", "--random", "20")
    assert_whole(found, 200)
    assert sum(one["moment"] == "a random moment" for one in found) == 20
    assert {one["litter"] for one in found} == {0, 1}
    # Only without any call that gives a name and takes none away may an empty file be left.
    assert {one["scene"] for one in found if one["state"] == "empty"} <= {SCENES[-1].name}


def test_what_a_killed_save_of_a_model_leaves_loads_bit_for_bit_with_its_ties(
    outcomes: Callable[..., list[dict[str, Any]]],
) -> None:
    assert_whole(outcomes("kills", "--keras", "--scenes", "3", "--every", "9"), 10, scenes=3)


def test_ctrl_c_at_calls_of_every_kind_leaves_a_whole_file_and_nothing_else(
    outcomes: Callable[..., list[dict[str, Any]]],
) -> None:
    found = outcomes("interrupts", "--every", "3")  # test_errors.py has all, by an exception
    assert_whole(found, 60)
    assert [one for one in found if one["litter"] or one["state"] == "empty"] == []


def test_ctrl_c_in_a_save_of_a_model_leaves_a_whole_file_and_nothing_else(
    outcomes: Callable[..., list[dict[str, Any]]],
) -> None:
    found = outcomes("interrupts", "--keras", "--scenes", "1", "--every", "6")
    assert_whole(found, 5, scenes=1)
    assert [one for one in found if one["litter"]] == []
