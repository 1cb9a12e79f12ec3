"""The ways to store a model whose speed `benchmarks.groups.peers` compares.

`.keras` and tiedio make the model from the file. The others hold weights only: they are read into a model that the
code has built already, and building it is not timed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import tiedio
from benchmarks.groups.saving import syncs_left_out

_SHARD = 0.25
"""GB; so the model of 0.5 GB is in three shards."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is written into a folder, and read back: from the folder alone, or into a built model."""

    save: Callable[[Any, Path], object]
    load: Callable[[Path, Any], Any]
    """Folder and built model → the model that has the values; the built one, unless `makes`."""
    makes: bool = False
    """Whether the file alone makes the model."""
    synced: bool = False
    """Whether saving returns only when the bytes are on the disk."""


def _into(read: Callable[[Any, Path], object]) -> Callable[[Path, Any], Any]:
    """The load of a way that reads weights into a built model."""

    def load(folder: Path, built: Any) -> Any:
        read(built, folder)
        return built

    return load


def _save_unsynced(model: Any, folder: Path) -> None:
    with syncs_left_out():
        tiedio.save(model, folder / "model.safetensors")


def _read_checkpoint(model: Any, folder: Path) -> None:
    tf.train.Checkpoint(model=model).read(str(folder / "checkpoint")).assert_existing_objects_matched()


def _save_orbax(model: Any, folder: Path) -> None:
    import orbax.checkpoint as orbax  # in the lock of the benchmarks only

    with orbax.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder / "model", {v.path: keras.ops.convert_to_numpy(v) for v in model.variables})


def _read_orbax(model: Any, folder: Path) -> None:
    import orbax.checkpoint as orbax

    with orbax.PyTreeCheckpointer() as checkpointer:
        _assign(model, checkpointer.restore(folder / "model"))


def _save_safetensors(model: Any, folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({v.path: keras.ops.convert_to_numpy(v) for v in model.variables}, folder / "model.safetensors")


def _read_safetensors(model: Any, folder: Path) -> None:
    from safetensors.numpy import load_file

    _assign(model, load_file(folder / "model.safetensors"))


def _assign(model: Any, values: Any) -> None:
    for variable in model.variables:
        variable.assign(values[variable.path])


def _save_sharded(model: Any, folder: Path) -> None:
    model.save_weights(folder / "model.weights.json", max_shard_size=_SHARD)


WAYS: dict[str, Way] = {
    "tiedio": Way(
        lambda model, folder: tiedio.save(model, folder / "model.safetensors"),
        lambda folder, _: tiedio.load(folder / "model.safetensors"),
        makes=True,
        synced=True,
    ),
    "tiedio, not synced": Way(
        _save_unsynced,
        lambda folder, _: tiedio.load(folder / "model.safetensors"),
        makes=True,
    ),
    "`.keras`": Way(
        lambda model, folder: model.save(folder / "model.keras"),
        lambda folder, _: keras.saving.load_model(folder / "model.keras"),
        makes=True,
    ),
    "`.weights.h5`": Way(
        lambda model, folder: model.save_weights(folder / "model.weights.h5"),
        _into(lambda model, folder: model.load_weights(folder / "model.weights.h5")),
    ),
    "sharded `.weights.json`": Way(
        _save_sharded,
        _into(lambda model, folder: model.load_weights(folder / "model.weights.json")),
    ),
    "TensorFlow checkpoint": Way(
        lambda model, folder: tf.train.Checkpoint(model=model).write(str(folder / "checkpoint")),
        _into(_read_checkpoint),
    ),
    "Orbax": Way(_save_orbax, _into(_read_orbax)),
    "safetensors and `assign`": Way(_save_safetensors, _into(_read_safetensors)),
}


def emptied(folder: Path) -> Path:
    """A folder with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


KEPT, LOST, FAILS = 1.0, 0.0, -1.0


def what_is_left(way: Way, folder: Path) -> float:
    """What becomes of two layers that were tied after they were built: `KEPT`, `LOST` without a word, or `FAILS`.

    What holds weights only is read into a model that the same code has built, without the tie.
    """

    def build() -> Any:
        keras.utils.clear_session(free_memory=False)
        inputs = keras.Input((4,))
        first, second = keras.layers.Dense(4, name="first"), keras.layers.Dense(4, name="second")
        return keras.Model(inputs, second(first(inputs)))

    model = build()
    tiedio.tie(model.get_layer("second"), model.get_layer("first"), models=model)
    way.save(model, emptied(folder))
    try:
        loaded = way.load(folder, build())
    except Exception:  # noqa: BLE001 - whatever it raises, there is no model
        return FAILS
    return KEPT if loaded.get_layer("first").kernel is loaded.get_layer("second").kernel else LOST
