"""Runs the code in README.md and docs/, and asks every public name for an example."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import tiedio
from tiedio.manifest import FORMAT, READABLE_FORMATS

ROOT = Path(__file__).resolve().parents[1]
MUST_EXIST = ("README.md", "docs/format.md")
HOW_TO = tuple(sorted(f"docs/how-to/{path.name}" for path in ROOT.glob("docs/how-to/*.md") if path.name != "README.md"))
MUST_RUN_CODE = (
    "README.md",
    *(f"docs/{name}.md" for name in ("tying", "threads", "backup", "checkpoints", "converting", "pictures", "testing")),
    *HOW_TO,
)

_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_PYTHON_INFO = re.compile(r"(python|py|python3|pycon)\b", re.IGNORECASE)

# Warnings are errors for the readers' code as for ours, but for these:
WARNINGS = (
    "error",
    # keras.Variable.__array__ (3.15.1) takes no `copy`, and Keras itself calls numpy.array on variables.
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
    # What Keras says when it drops an optimizer's state: the README shows that it happens.
    "ignore:Skipping variable loading for optimizer:UserWarning",
    # And before it fails to load a layer that stands in a model and outside it: docs/how-to/reuse.md shows that.
    "ignore:Skipping nested container:UserWarning",
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its info string, the line of its fence counted from 1, its lines without the indent."""

    info: str
    line: int
    lines: tuple[str, ...]


def blocks(text: str) -> list[Block]:
    """Return the fenced code blocks of a Markdown text, in order."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    start = 0
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _FENCE.match(line)
        if opened is None:
            if match is not None:
                opened, start, inside = match, number, []
        elif match is not None and match["fence"].startswith(opened["fence"]) and not match["info"].strip():
            found.append(Block(opened["info"].strip(), start, tuple(inside)))
            opened = None
        else:
            indent = len(opened["indent"])
            inside.append(line[indent:] if line[:indent].isspace() else line)
    if opened is not None:
        raise ValueError(f"the block that line {start} opens is never closed")
    return found


def script(text: str) -> str:
    """Return the Python blocks of a text as one script; each line has the number it has in the text."""
    lines = [""] * len(text.splitlines())
    for block in blocks(text):
        if block.info == "python":
            lines[block.line : block.line + len(block.lines)] = block.lines
    return "\n".join(lines) + "\n"


def documents() -> list[str]:
    found = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md"))
    return ["README.md", *found]


def read(name: str) -> str:
    path = ROOT / name
    assert path.is_file(), f"{name} is missing: the documents {', '.join(MUST_EXIST)} belong to the package"
    return path.read_text(encoding="utf-8")


def test_a_script_keeps_the_line_numbers_and_leaves_other_blocks_out() -> None:
    in_a_list = "- item\n\n  ```python\n  b = a\n  ```\n"
    not_code = "```bash\nrm x\n```\n````text\n```python\n````\n"
    text = "# T\n```python\na = 1\n```\n" + in_a_list + not_code
    assert script(text).splitlines() == ["", "", "a = 1", "", "", "", "", "b = a", *[""] * 7]


def test_a_block_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 2"):
        blocks("text\n```python\na = 1\n")


@pytest.mark.parametrize("name", MUST_EXIST)
def test_the_document_is_there(name: str) -> None:
    assert read(name).strip()


@pytest.mark.parametrize("name", MUST_RUN_CODE)
def test_the_document_shows_code_that_runs(name: str) -> None:
    assert [block for block in blocks(read(name)) if block.info == "python"]


@pytest.mark.parametrize("name", documents())
def test_no_python_block_is_kept_from_running(name: str) -> None:
    kept = [b for b in blocks(read(name)) if _PYTHON_INFO.match(b.info) and b.info != "python"]
    places = [f"{name}:{block.line}: ```{block.info}" for block in kept]
    assert places == [], "write ```python, which runs, or ```text for what is not code"


@pytest.mark.parametrize("name", documents())
def test_the_code_in_the_document_runs_as_a_reader_would_run_it(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{Path(name).stem}.py"
    file.write_text(script(read(name)), encoding="utf-8")
    folder = tmp_path / "work"
    folder.mkdir()
    python_path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, *(f"-W{warning}" for warning in WARNINGS), str(file)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"the code of {name} failed (line numbers are the document's)\n{done.stderr}"


@pytest.mark.parametrize("name", documents())
def test_links_to_files_of_the_repository_lead_somewhere(name: str) -> None:
    prose = re.sub(r"^(`{3,}).*?^\1", "", read(name), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)", prose)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    missing = [target for target in local if not ((ROOT / name).parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("name", HOW_TO)
def test_the_how_to_page_is_found_from_both_lists(name: str) -> None:
    assert f"]({name})" in read("README.md")
    assert f"]({Path(name).name})" in read("docs/how-to/README.md")


@pytest.mark.parametrize("name", [name for name in tiedio.__all__ if not name.startswith("__")])
def test_the_public_name_has_a_docstring_whose_example_runs(name: str) -> None:
    text = inspect.getdoc(getattr(tiedio, name))
    assert text, f"tiedio.{name} has no docstring"
    assert doctest.DocTestParser().get_examples(text), f"the docstring of tiedio.{name} has no example (>>>)"


def test_the_page_on_the_format_is_about_the_version_that_is_written_and_keeps_what_older_ones_did() -> None:
    page = read("docs/format.md")
    assert page.startswith(f"# The file format, version {FORMAT}\n")
    assert f"To raise it from {FORMAT} to {FORMAT + 1}:" in page
    kept = re.findall(r"^## What version (\d+) did otherwise$", page, flags=re.MULTILINE)
    assert sorted(map(int, kept)) == sorted(set(READABLE_FORMATS) - {FORMAT})
