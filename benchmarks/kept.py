"""What `.keras` and tiedio keep of models that share weights: `python -m benchmarks.kept [--write]`.

Each case is built, saved and loaded by both libraries. A case is kept if the loaded model shares exactly what the
saved one shares, gives bitwise the same outputs, and makes bitwise the same next training step. `--write` puts the
table into README.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import numpy as np
import tensorflow as tf

import tiedio
from tiedio.testing import Arguments, zoo

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- kept: begin -->", "<!-- kept: end -->"

CASES = {
    "two `Conv2D`, other padding, one kernel and bias": "two_convs_with_different_padding_share_kernel_and_bias",
    "siamese network: one `LSTM` on two inputs": "siamese_network_calls_one_lstm_on_two_inputs",
    "tied autoencoder: a layer that refers to the first": "tied_autoencoder_by_a_layer_that_refers_to_the_first",
    "language model: embedding matrix as output kernel": (
        "masked_language_model_with_the_embedding_matrix_in_a_dense_kernel"
    ),
    "a convolution whose kernel other layers compute": "convolution_op_whose_kernel_and_bias_are_outputs_of_layers",
    "a layer's live variable passed to an op": "a_live_variable_of_a_layer_inside_a_sub_model_goes_into_an_op_outside",
    "one layer called three times": "one_layer_called_three_times",
    "a model used as a layer twice": "a_model_used_as_a_layer_twice",
    "a layer in a sub-model and outside it": "a_layer_in_a_sub_model_and_outside_it",
    "a layer in two sub-models": "a_layer_in_two_sub_models",
    "a model split in the middle and rejoined": "a_model_split_in_the_middle_and_rejoined",
    "one cell in two `RNN` layers": "one_cell_in_two_rnn_layers",
    "a layer repeated in a `Sequential`": "a_layer_repeated_in_a_sequential_model",
    "subclassed model, tied after construction": "subclassed_model_tied_after_construction",
    "a class ties, the user untied by hand": "a_tie_that_a_class_makes_was_undone_by_hand",
    "one side of a tie is frozen": "one_side_is_a_frozen_layer",
    "a layer frozen after the optimizer was built": "a_layer_was_frozen_after_the_optimizer_was_built",
    "encoder and autoencoder that share layers": "encoder_and_autoencoder_that_share_layers",
}


def main() -> None:
    """Prints the table; with `--write` also puts it into README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    write = parser.parse_args().write
    tf.config.experimental.enable_op_determinism()
    rows = ["| model | `.keras` | tiedio |", "| --- | --- | --- |"]
    for title, name in CASES.items():
        print(f"{title} …", file=sys.stderr)
        rows.append(f"| {title} | {_outcome(name, _with_keras)} | {_outcome(name, _with_tiedio)} |")
    versions = f"Keras {keras.__version__}, TensorFlow {tf.__version__}, tiedio {tiedio.__version__}."
    table = "\n".join([*rows, "", versions])
    print(table)
    if write:
        before, _, rest = README.read_text("utf-8").partition(BEGIN)
        README.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", "utf-8")


def _with_keras(case: zoo.Case, folder: Path) -> Any:
    """Keras saves one model a file; roots that share layers are saved one by one."""
    if isinstance(case.model, dict):
        return {name: _keras_file(model, folder / f"{name}.keras", case) for name, model in case.model.items()}
    return _keras_file(case.model, folder / "model.keras", case)


def _keras_file(model: Any, path: Path, case: zoo.Case) -> Any:
    model.save(path)
    return keras.saving.load_model(path, custom_objects=case.custom_objects, safe_mode=case.safe_mode)


def _with_tiedio(case: zoo.Case, folder: Path) -> Any:
    path = folder / "model.safetensors"
    tiedio.save(case.model, path)
    return tiedio.load(path, custom_objects=case.custom_objects, safe_mode=case.safe_mode)


def _outcome(name: str, round_trip: Callable[[zoo.Case, Path], Any]) -> str:
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    case = zoo.build_case(name)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            loaded = round_trip(case, Path(folder))
        except Exception:  # noqa: BLE001 - whatever it raises, the user has no model
            return "fails"
    told = any("optimizer" in str(warning.message) for warning in caught)
    same = all(_same_outputs(a, b, inputs) for a, b, inputs in _pairs(case, loaded))
    shared = _shares(case, loaded)
    steps = not case.train or all(_same_step(a, b, x, case, n) for n, (a, b, x) in enumerate(_pairs(case, loaded)))
    if shared and same and steps:
        return "kept"
    parts = [
        *(["sharing lost"] if not shared else []),
        *(["predictions differ"] if not same else []),
        *(["optimizer state dropped"] if told else []),
        *(["next step differs"] if shared and same and not told else []),
    ]
    return ", ".join(parts)


def _shares(case: zoo.Case, loaded: Any) -> bool:
    try:
        same = all(thing is group[0] for group in case.same(loaded) for thing in group)
        apart = all(len({id(thing) for thing in group}) == len(group) for group in case.apart(loaded))
    except (AttributeError, IndexError, ValueError, KeyError):
        return False  # the place that should hold the shared object is not there
    return same and apart


def _pairs(case: zoo.Case, loaded: Any) -> list[tuple[Any, Any, Any]]:
    if isinstance(case.model, dict):
        return [(case.model[name], loaded[name], case.inputs[name]) for name in case.model]
    return [(case.model, loaded, case.inputs)]


def _same_outputs(one: Any, other: Any, inputs: Any) -> bool:
    call = inputs if isinstance(inputs, Arguments) else Arguments((inputs,))
    results = [keras.tree.flatten(model(*call.args, **call.kwargs)) for model in (one, other)]
    return all(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True) for a, b in zip(*results, strict=True))


def _same_step(one: Any, other: Any, inputs: Any, case: zoo.Case, n: int) -> bool:
    targets = (case.targets or {}).get(list(case.model)[n]) if isinstance(case.model, dict) else case.targets
    if not one.compiled or isinstance(inputs, Arguments) or targets is None:
        return True
    for model in (one, other):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.train_on_batch(inputs, targets)
    return _same_outputs(one, other, inputs)


if __name__ == "__main__":
    main()
