"""Holds the direction of the imports in tiedio: see the floors below."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tiedio"

# A room is a module or a subpackage of tiedio; it imports only from rooms on lower floors. The whole numbers
# are the design's; on a half stands what several rooms above it need, or what joins the rooms below it.
FLOORS: dict[float, set[str]] = {
    1: {"errors"},
    1.25: {"limits"},
    1.375: {"allowance"},
    1.5: {"strict_json", "records", "views", "naming", "texts", "paths", "dtypes"},
    2: {"container", "keras_api", "arrays"},
    2.5: {"session", "progress"},
    3: {"manifest", "slots", "configs", "report", "roots"},
    3.5: {"describe", "plain", "values", "matching", "guarding", "pairs", "serialization"},
    3.75: {"omissions", "own_compile", "optimizers", "hooks", "custom", "moments"},
    4: {"ties", "structure", "alias", "training", "closing", "inspection", "retying", "migration", "frozen"},
    4.25: {"picture"},
    4.375: {"page"},
    4.5: {"pipeline", "weights", "comparing"},
    4.625: {"proof"},
    4.75: {"loading", "cloning", "live_picture"},
    4.9: {"exchange"},
    5: {"api", "tying", "plotting"},
    5.5: {"terminal"},
    6: {"conversion", "callbacks", "testing", "demo"},
    7: {"cli"},
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
# From this floor up a room is a user of the package and may say `import tiedio`.
FIRST_USER_FLOOR = 6

# What reads a file must work, and be quick, without Keras.
WITHOUT_KERAS = (
    "errors", "limits", "allowance", "strict_json", "records", "views", "naming", "texts", "dtypes", "paths",
    "container", "manifest", "progress", "inspection", "matching", "comparing", "picture", "page",
)  # fmt: skip
KERAS_AND_BACKENDS = ("keras", "tensorflow", "jax", "torch", "keras_hub")
INTERNALS = "keras.src"
MAX_LINES = 450


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(name: str) -> str | None:
    """Return the room of a dotted name, or `None` for the package itself and for what is not ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "tiedio" and len(parts) > 1 else None


def imported(source: str, module: str, is_package: bool) -> set[str]:
    """Return the dotted names that a source imports, at any depth; relative ones made absolute.

    `from a import b` gives `a.b`, for `b` may be a module.
    """
    package = module if is_package else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                above = ".".join(parents[: len(parents) - node.level + 1])
                base = f"{above}.{base}" if base else above
            names.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names.update(a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))
    return names


def imports_of(path: Path) -> set[str]:
    return imported(path.read_text(encoding="utf-8"), module_name(path), path.name == "__init__.py")


def attribute_chains(source: str) -> set[str]:
    return {ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}


def names_internals(source: str, module: str, is_package: bool) -> list[str]:
    named = imported(source, module, is_package) | attribute_chains(source)
    return sorted(name for name in named if name == INTERNALS or name.startswith(f"{INTERNALS}."))


def wrong_arrows(room: str, names: set[str]) -> list[str]:
    """Return a line for each of the imported names that a room must not import."""
    floor = FLOOR_OF[room]
    wrong = []
    for name in sorted(names):
        target = room_of(name)
        if name.split(".")[0] != "tiedio" or target in (room, "__version__"):
            continue
        if target in FLOOR_OF:
            if FLOOR_OF[target] >= floor:
                wrong.append(f"{room} (floor {floor}) imports {name} (floor {FLOOR_OF[target]})")
        elif floor < FIRST_USER_FLOOR:
            wrong.append(f"{room} (floor {floor}) imports {name}, a public name: import it from its room")
    return wrong


def run_python(code: str, *arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import tiedio.api", "tiedio.api"),
        ("import os, tiedio.api as a", "tiedio.api"),
        ("from tiedio.api import save", "tiedio.api.save"),
        ("from tiedio import api", "tiedio.api"),
        ("from .. import api", "tiedio.api"),
        ("from ..api import save", "tiedio.api.save"),
        ("from .other import f", "tiedio.structure.other.f"),
        ("def f():\n    import tiedio.api", "tiedio.api"),
        ("if TYPE_CHECKING:\n    from tiedio.api import save", "tiedio.api.save"),
        ("importlib.import_module('tiedio.api')", "tiedio.api"),
    ],
)
def test_every_way_to_write_an_import_is_seen(source: str, name: str) -> None:
    assert imported(source, "tiedio.structure.table", is_package=False) >= {name}


def test_a_relative_import_in_a_package_file_starts_at_the_package() -> None:
    assert imported("from . import table", "tiedio.structure", is_package=True) == {"tiedio.structure.table"}


@pytest.mark.parametrize(
    ("room", "name", "allowed"),
    [
        ("api", "tiedio.structure.table", True),
        ("structure", "tiedio.structure.audit", True),
        ("structure", "tiedio.alias.put", False),
        ("manifest", "tiedio.api.save", False),
        ("slots", "tiedio.manifest.Slot", False),
        ("values", "tiedio.save", False),
        ("cli", "tiedio.save", True),
        ("manifest", "tiedio.__version__", True),
        ("manifest", "json", True),
    ],
)
def test_an_arrow_that_points_up_or_sideways_is_refused(room: str, name: str, allowed: bool) -> None:
    assert (wrong_arrows(room, {name}) == []) is allowed


def test_every_room_stands_on_a_floor() -> None:
    rooms = {room for room in (room_of(module_name(path)) for path in modules()) if room is not None}
    assert rooms - FLOOR_OF.keys() == set(), "give each of these a floor in FLOORS"


def test_rooms_import_only_from_lower_floors() -> None:
    wrong = []
    for path in modules():
        room = room_of(module_name(path))
        if room in FLOOR_OF:
            wrong += [f"{label(path)}: {line}" for line in wrong_arrows(room, imports_of(path))]
    assert wrong == []


@pytest.mark.parametrize(
    "source",
    [
        "import keras.src.trainers",
        "from keras.src import backend",
        "from keras import src",
        "import keras\nkeras.src.backend.name_scope",
        "importlib.import_module('keras.src.backend')",
    ],
)
def test_every_way_to_reach_keras_internals_is_seen(source: str) -> None:
    assert names_internals(source, "tiedio.api", is_package=False) != []


def test_only_keras_api_names_keras_internals() -> None:
    naming = {}
    for path in modules():
        source = path.read_text(encoding="utf-8")
        named = names_internals(source, module_name(path), path.name == "__init__.py")
        if named and room_of(module_name(path)) != "keras_api":
            naming[label(path)] = named
    assert naming == {}


@pytest.mark.parametrize("room", WITHOUT_KERAS)
def test_what_reads_a_file_names_no_keras(room: str) -> None:
    paths = [path for path in modules() if room_of(module_name(path)) == room]
    assert paths, f"tiedio has no {room}"
    for path in paths:
        for name in imports_of(path):
            assert name.split(".")[0] not in KERAS_AND_BACKENDS, f"{label(path)} imports {name}"
            target = room_of(name)
            assert target in (None, "__version__", *WITHOUT_KERAS), f"{label(path)} imports {name}, which may use Keras"


def test_importing_tiedio_loads_neither_keras_nor_a_backend() -> None:
    code = (
        "import sys, tiedio, tiedio.errors, tiedio.container, tiedio.manifest, tiedio.inspection\n"
        "tiedio.inspect, tiedio.verify, tiedio.Manifest, tiedio.Tie, tiedio.TiedioError, dir(tiedio)\n"
        f"print(sorted(set(sys.modules) & {set(KERAS_AND_BACKENDS)!r}))"
    )
    assert run_python(code).strip() == "[]"


def test_every_public_name_is_there_and_a_wrong_one_is_an_attribute_error() -> None:
    import tiedio

    assert len(set(tiedio.__all__)) == len(tiedio.__all__)
    assert set(tiedio.__all__) <= set(dir(tiedio))
    assert [name for name in tiedio.__all__ if not hasattr(tiedio, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = tiedio.lode  # type: ignore[attr-defined]


@pytest.mark.parametrize("folder", ["tiedio", "tests", "benchmarks"])
def test_no_file_is_longer_than_a_reader_can_hold(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths, f"no Python files in {folder}/"
    lengths = {label(path): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}
