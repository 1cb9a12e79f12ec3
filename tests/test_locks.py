"""Holds the lock files to what they promise: exact, hashed, without an address, and one within the other."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DEV = "requirements-dev.lock"
LOCKS = (DEV, "requirements-tensorflow.lock")

_ENTRY = re.compile(r"[a-z0-9-]+==[^ ;]+( ; [^\\]+?)?( --hash=sha256:[0-9a-f]{64})+")


def entries(name: str) -> list[str]:
    """Return the requirements of a lock file, each on one line, without comments."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r" *\\\n *", " ", text).splitlines()


@pytest.mark.parametrize("name", LOCKS)
def test_each_line_is_an_exact_version_with_hashes_and_nothing_else(name: str) -> None:
    assert entries(name)
    assert [line for line in entries(name) if not _ENTRY.fullmatch(line)] == []


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_names_no_address_and_no_path(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert re.findall(r"\S*://\S*|--(?!hash=)\S+|(?<!\S)/\S+| @ \S+", text) == []


def test_what_the_wheel_is_tested_with_is_what_the_suite_ran_with() -> None:
    assert set(entries(LOCKS[1])) - set(entries(DEV)) == set()


def test_the_build_backend_in_the_lock_is_the_one_that_builds_the_wheel() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]
    names = [line.split(" ")[0].replace("-", "_") for line in entries(DEV)]
    assert [requirement for requirement in build["requires"] if requirement not in names] == []
