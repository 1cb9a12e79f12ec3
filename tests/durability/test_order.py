"""What a crash of the machine leaves is decided by the order of syncs and renames: it is held here, by a recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.durability.faults import Layer
from tests.durability.scenes import SCENES, Scene, Version


def recorded(scene: Scene, versions: tuple[Path, Path], folder: Path) -> list[str]:
    old, new = map(Version.of, versions)
    layer = Layer()
    scene.save(scene.prepare(folder, old), new, layer)
    return layer.calls


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_all_bytes_are_on_the_disk_before_the_name_is_given_and_the_name_before_save_returns(
    scene: Scene, versions: tuple[Path, Path], tmp_path: Path
) -> None:
    calls = recorded(scene, versions, tmp_path)
    naming = [n for n, call in enumerate(calls) if call in ("replace", "link", "rename new")]
    assert len(naming) == 1
    assert calls.count("sync") == calls.count("sync folder") == 1
    last_write = max(n for n, call in enumerate(calls) if call == "write")
    assert last_write < calls.index("proof") < calls.index("sync") < naming[0] < calls.index("sync folder")
    # Nothing takes a name after the sync of the folder, so that it holds for all of them.
    assert calls[calls.index("sync folder") + 1 :] == ["close folder"]
    if "unlink" in calls:
        assert naming[0] < calls.index("unlink") < calls.index("sync folder")
