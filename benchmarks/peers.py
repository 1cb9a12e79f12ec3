"""The five ways to store a model that `benchmarks.kept` compares: each writes a case and gives back what was loaded.

`.keras` and tiedio rebuild the model from the file. The other three store weights only, so the model that they are read
into is built anew by the case's own code, with other random values; whatever that code ties is tied there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

import tiedio
from tiedio.testing.zoo_base import Case

Builder = Callable[[], Case]
Save = Callable[[Case, Path], None]
Load = Callable[[Case, Path, Builder], Any]


def named(model: Any) -> dict[str, Any]:
    """The roots of a case by name."""
    return dict(model) if isinstance(model, dict) else {"model": model}


def _like(given: Any, roots: dict[str, Any]) -> Any:
    return roots if isinstance(given, dict) else roots["model"]


def rebuilt(build: Builder) -> Any:
    """The model as the case's code makes it another time: same names, other values."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(2)
    return build().model


def _save_keras(case: Case, folder: Path) -> None:
    for name, model in named(case.model).items():
        model.save(folder / f"{name}.keras")


def _load_keras(case: Case, folder: Path, _build: Builder) -> Any:
    roots = {
        name: keras.saving.load_model(
            folder / f"{name}.keras", custom_objects=case.custom_objects, safe_mode=case.safe_mode
        )
        for name in named(case.model)
    }
    return _like(case.model, roots)


def _save_weights(case: Case, folder: Path) -> None:
    for name, model in named(case.model).items():
        model.save_weights(folder / f"{name}.weights.h5")


def _load_weights(_case: Case, folder: Path, build: Builder) -> Any:
    fresh = rebuilt(build)
    for name, model in named(fresh).items():
        model.load_weights(folder / f"{name}.weights.h5")
    return fresh


def _save_checkpoint(case: Case, folder: Path) -> None:
    tf.train.Checkpoint(**named(case.model)).write(str(folder / "checkpoint"))


def _load_checkpoint(_case: Case, folder: Path, build: Builder) -> Any:
    fresh = rebuilt(build)
    status = tf.train.Checkpoint(**named(fresh)).read(str(folder / "checkpoint"))
    status.assert_existing_objects_matched()
    return fresh


def _save_orbax(case: Case, folder: Path) -> None:
    import orbax.checkpoint as orbax  # in the lock of the benchmarks only

    # Keras 3.15.1's callback writes the same tree; on TensorFlow it cannot read it back with this release of Orbax.
    with orbax.PyTreeCheckpointer() as checkpointer:
        for name, model in named(case.model).items():
            checkpointer.save(folder / name, _state(model))


def _load_orbax(_case: Case, folder: Path, build: Builder) -> Any:
    import orbax.checkpoint as orbax

    fresh = rebuilt(build)
    with orbax.PyTreeCheckpointer() as checkpointer:
        for name, model in named(fresh).items():
            _set_state(model, checkpointer.restore(folder / name))
    return fresh


def _state(model: Any) -> dict[str, Any]:
    """What Keras makes of a model for Orbax; without an optimizer it cannot, so then the variables by their paths."""
    if model.compiled:
        return dict(model.get_state_tree(value_format="numpy_array"))
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.variables}


def _set_state(model: Any, state: dict[str, Any]) -> None:
    if model.compiled:
        model.set_state_tree(state)
    else:
        for variable in model.variables:
            variable.assign(state[variable.path])


def _save_tiedio(case: Case, folder: Path) -> None:
    tiedio.save(case.model, folder / "model.safetensors")


def _load_tiedio(case: Case, folder: Path, _build: Builder) -> Any:
    path = folder / "model.safetensors"
    return tiedio.load(path, custom_objects=case.custom_objects, safe_mode=case.safe_mode)


FORMATS: dict[str, tuple[Save, Load]] = {
    "tiedio": (_save_tiedio, _load_tiedio),
    "`.keras`": (_save_keras, _load_keras),
    "`.weights.h5`": (_save_weights, _load_weights),
    "TensorFlow checkpoint": (_save_checkpoint, _load_checkpoint),
    "Orbax": (_save_orbax, _load_orbax),
}
