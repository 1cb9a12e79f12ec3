"""Whatever a configuration asks for, `load` takes at most 64 MiB and 4 n of memory before it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiedio
from tests.hostile.configurations import ATTACKS, BOMBS
from tests.hostile.editing import edited
from tests.hostile.measure import Measured, can_measure, measure
from tests.hostile.sizes import MODELS, files
from tests.hostile.test_configurations import build

SECONDS = 60
"""Far more than any takes, on a machine that does other things too; docs/security.md has what was measured."""

pytestmark = pytest.mark.skipif(not can_measure(), reason="this system does not tell the peak of a process")


def load(path: str) -> None:
    """What is measured; KerasHub is there already, as some of the attacks name it."""
    import keras_hub  # noqa: F401

    tiedio.load(path)


def good(folder: Path) -> Path:
    model = build()
    model.compile("sgd", "mse", metrics=["mae"])
    tiedio.save(model, folder / "good.safetensors")
    return folder / "good.safetensors"


def measured(made: dict[str, bytes], folder: Path) -> list[Measured]:
    """Measures `load` on these files, and looks at what no file may do."""
    warm = good(folder)
    paths = []
    for n, raw in enumerate(made.values()):
        paths.append(folder / f"{n}.safetensors")
        paths[-1].write_bytes(raw)
    found = measure(paths, "tests.hostile.test_rebuild_bombs:load", warm=warm)
    for name, one in zip(made, found, strict=True):
        assert one.error is None or one.ours, (name, one.error, one.text)
        assert one.peak <= one.bound, f"{name}: {one.peak} bytes, {one.bound} allowed"
        assert one.seconds < SECONDS, name
    return found


def test_no_bomb_takes_more_than_it_may(tmp_path: Path) -> None:
    raw = good(tmp_path).read_bytes()
    found = measured({attack.name: edited(raw, attack.change) for attack in BOMBS}, tmp_path)
    assert all(one.error is not None for one in found)
    assert len(ATTACKS) > len(BOMBS) > 15


def test_no_large_number_takes_more_than_it_may(tmp_path: Path) -> None:
    made = dict(files())
    assert len(made) > 50 * len(MODELS)
    measured(dict(list(made.items())[::7]), tmp_path)


def main() -> None:
    """Measures all of them, and says what was the worst."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        raw = good(Path(folder)).read_bytes()
        made = {attack.name: edited(raw, attack.change) for attack in ATTACKS} | dict(files())
        found = dict(zip(made, measured(made, Path(folder)), strict=True))
        shares = {name: one.peak / one.bound for name, one in found.items()}
    refused = sum(one.error is not None for one in found.values())
    print(f"{len(found)} files, {refused} refused, {len(found) - refused} load")
    for name in sorted(found, key=lambda name: -shares[name])[:5]:
        print(f"{shares[name]:.0%} of the memory, {found[name].peak >> 20} MiB, {found[name].error}: {name}")
    for name in sorted(found, key=lambda name: -found[name].seconds)[:5]:
        print(f"{found[name].seconds:.2f} s, {found[name].error}: {name}")


if __name__ == "__main__":
    main()
