"""What tiedio and its peers keep of a model: `python -m benchmarks.kept [--write] [--only WORD] [--missing]`.

Every case of the zoo is built, stored and loaded in all five ways; see `benchmarks.peers` for the ways and
`benchmarks.judge` for the verdicts. `--write` puts the whole table into docs/peers.md, row by row, and its first rows
into README.md; with `--missing` only the cases run that have no row there yet, if that table is of the same versions:
a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from benchmarks.judge import outcome
from benchmarks.peers import FORMATS, Builder
from tiedio.testing import zoo, zoo_hub

ROOT = Path(__file__).resolve().parents[1]
README, DOCS = ROOT / "README.md", ROOT / "docs" / "peers.md"
BEGIN, END = "<!-- kept: begin -->", "<!-- kept: end -->"

SHORT = {
    "two `Conv2D`, other padding, one kernel and bias": "two_convs_with_different_padding_share_kernel_and_bias",
    "siamese network: one `LSTM` on two inputs": "siamese_network_calls_one_lstm_on_two_inputs",
    "tied autoencoder: a layer that refers to the first": "tied_autoencoder_by_a_layer_that_refers_to_the_first",
    "language model: embedding matrix as output kernel": (
        "masked_language_model_with_the_embedding_matrix_in_a_dense_kernel"
    ),
    "a convolution whose kernel other layers compute": "convolution_op_whose_kernel_and_bias_are_outputs_of_layers",
    "one layer called three times": "one_layer_called_three_times",
    "a layer in a sub-model and outside it": "a_layer_in_a_sub_model_and_outside_it",
    "a model split in the middle and rejoined": "a_model_split_in_the_middle_and_rejoined",
    "one cell in two `RNN` layers": "one_cell_in_two_rnn_layers",
    "a layer repeated in a `Sequential`": "a_layer_repeated_in_a_sequential_model",
    "subclassed model, tied after construction": "subclassed_model_tied_after_construction",
    "encoder and autoencoder that share layers": "encoder_and_autoencoder_that_share_layers",
    "a layer frozen after the optimizer was built": "a_layer_was_frozen_after_the_optimizer_was_built",
    "LoRA on one side of a tie": "a_tied_kernel_with_lora_on_one_side",
    "GPT-2 of KerasHub": "gpt2_backbone",
}
"""Titles and cases of the rows that README.md shows."""

MORE = {
    "siamese network: one Xception on two images": "siamese_network_calls_one_xception_on_two_images",
    "a layer's live variable passed to an op": "a_live_variable_of_a_layer_inside_a_sub_model_goes_into_an_op_outside",
    "a model used as a layer twice": "a_model_used_as_a_layer_twice",
    "a layer in two sub-models": "a_layer_in_two_sub_models",
    "sub-models from the middle of a built model": "sub_models_from_the_middle_of_a_built_model",
    "a model and its clone, one file": "a_model_and_its_clone_share_nothing",
    "a layer of two custom layers and of no graph": "a_layer_only_in_two_custom_layers",
    "a class ties, the user untied by hand": "a_tie_that_a_class_makes_was_undone_by_hand",
    "one side of a tie is frozen": "one_side_is_a_frozen_layer",
    "the shared variable itself is frozen": "the_shared_variable_itself_is_frozen",
    "two dropouts draw from one seed generator": "two_dropouts_draw_from_one_seed_generator_state",
    "the shared weight comes last in its layer": "the_shared_weight_comes_last_in_its_layer",
    "two layers with odd names": "layers_with_odd_names_share_a_kernel",
    "the same names in two sub-models": "layers_of_equal_names_in_two_sub_models",
    "two roots, each with its optimizer": "two_roots_that_share_only_a_variable_and_each_have_an_optimizer",
    "a GAN whose discriminator is compiled too": "a_compiled_discriminator_inside_a_gan",
    "an optimizer built for another order of variables": "optimizer_built_with_the_variables_in_another_order",
    "subclassed model with two call arguments": "subclassed_model_with_two_call_arguments",
    "subclassed model with layers built by hand": "subclassed_model_with_layers_built_by_hand",
    "two equal weights that are not tied": "equal_values_are_not_a_tie",
    "BERT of KerasHub": "bert_backbone",
    "T5 of KerasHub": "t5_backbone_encodes_and_decodes_with_one_embedding",
    "OPT of KerasHub": "opt_backbone_whose_embedding_is_a_part_of_a_layer",
    "KerasHub's masked LM head on the embedding": "layers_in_a_functional_model_with_a_head_on_the_embedding",
}
"""Titles and cases of the rows of docs/peers.md that follow."""

_TITLED = {*SHORT.values(), *MORE.values()}
REST = {name.replace("_", " "): name for name in (*zoo.case_names(), *zoo_hub.case_names()) if name not in _TITLED}
"""Every other case, under its name."""

ROWS = SHORT | MORE | REST

WORKERS = 2
CASES_OF_A_POOL = 60
"""The processes end after so many cases, so that their memory does not grow."""


def builder(name: str) -> Builder:
    """What builds a case, of the zoo or of KerasHub."""
    home = zoo_hub if name in zoo_hub.BUILDERS else zoo
    return lambda: home.build_case(name)


def table(rows: list[list[str]]) -> str:
    """A table in Markdown."""
    head = ["model", *FORMATS]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between(text: str, content: str) -> str:
    """A text with other content between its markers."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{content}\n{END}{rest.partition(END)[2]}"


def row(title: str) -> list[str]:
    """The row of one case: title and verdicts."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    build = builder(ROWS[title])
    return [title, *(outcome(build, save, load) for save, load in FORMATS.values())]


def measured(titles: list[str]) -> Iterator[list[str]]:
    """One row after the other, in this order."""
    context = multiprocessing.get_context("spawn")
    for start in range(0, len(titles), CASES_OF_A_POOL):
        with ProcessPoolExecutor(WORKERS, context) as pool:
            for one in pool.map(row, titles[start : start + CASES_OF_A_POOL]):
                print(" | ".join(one), file=sys.stderr, flush=True)
                yield one


def known(text: str, versions: str) -> dict[str, list[str]]:
    """The rows of a table that was made with these versions, by title."""
    _, _, rest = text.partition(BEGIN)
    shown, _, _ = rest.partition(END)
    if versions not in shown:
        return {}
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in shown.splitlines() if line[:2] == "| "]
    return {cells[0]: cells for cells in rows[2:]}


def summary(rows: list[list[str]]) -> str:
    """How many of all models each way keeps."""
    kept = [f"{name} {sum(row[n] == 'kept' for row in rows)}" for n, name in enumerate(FORMATS, 1)]
    return f"Of all {len(rows)} models these came back whole: {', '.join(kept)}."


def versions_of() -> str:
    """What the cells were measured with."""
    names = {"Keras": "keras", "TensorFlow": "tensorflow", "KerasHub": "keras-hub", "Orbax": "orbax-checkpoint"}
    found = ", ".join(f"{name} {importlib.metadata.version(package)}" for name, package in names.items())
    return f"{found} and tiedio {importlib.metadata.version('tiedio')}, printed by `make kept`."


def write(path: Path, rows: list[list[str]], below: str) -> None:
    """Puts a table, and the lines below it, between the markers of a page."""
    path.write_text(between(path.read_text("utf-8"), f"{table(rows)}\n\n{below}"), "utf-8")


def main() -> None:
    """Prints the table; with `--write` also puts it where it belongs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into README.md and docs/peers.md")
    parser.add_argument("--missing", action="store_true", help="keep the rows that are there, of the same versions")
    parser.add_argument("--only", default="", help="only the rows whose titles have this in them")
    given = parser.parse_args()
    if given.write and given.only:
        parser.error("--write needs every row")
    versions = versions_of()
    there = known(DOCS.read_text("utf-8"), versions) if given.missing else {}
    wanted = [title for title in ROWS if given.only in title]
    found = dict(there)
    for one in measured([title for title in wanted if title not in there]):
        found[one[0]] = one
        if given.write:
            write(DOCS, [found[title] for title in wanted if title in found], versions)
    rows = [found[title] for title in wanted]
    below = f"{summary(rows)}\n\n{versions}"
    print(f"{table(rows)}\n\n{below}")
    if given.write:
        write(DOCS, rows, below)
        write(README, rows[: len(SHORT)], below)


if __name__ == "__main__":
    main()
