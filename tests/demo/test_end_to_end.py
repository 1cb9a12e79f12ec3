"""One tiny run of the whole demo, with real models and real files of both formats.

The run takes most of the time of this folder's tests, so it is made once, and one test looks at all of it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import tiedio.demo.run
from tiedio.demo.measure import Comparison
from tiedio.demo.run import Findings, run
from tiedio.demo.show import show
from tiedio.demo.subjects import Size
from tiedio.terminal import plain_console

TINY = Size(train=32, tune=16, test=16, epochs=2, batch=16)


def test_the_demo_shows_what_keras_loses_and_tiedio_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[Findings] = []

    def tiny(folder: Path, **options: Any) -> Findings:
        sizes: dict[str, Any] = {
            "language": TINY,
            "digits": TINY,
            "vocabulary": 120,
            "width": 4,
            "repeats": 1,
        }
        runs.append(run(folder, **options, **sizes))
        return runs[0]

    monkeypatch.setattr(tiedio.demo.run, "run", tiny)
    out = io.StringIO()
    show(plain_console(file=out, width=60), tmp_path)

    lines = out.getvalue().splitlines()
    it_tells_what_it_does(lines)
    it_ends_with_tables_at_60_columns(lines)
    (found,) = runs
    assert found.seconds > 0
    assert [one.title for one in found.comparisons] == ["Masked language model", "Two Conv2D, one kernel"]
    for comparison in found.comparisons:
        assert [trip.format for trip in comparison.trips] == [".keras", "tiedio"]
        training_is_real(comparison)
        keras_loses_the_tie_and_the_optimizer_state(comparison)
        tiedio_keeps_everything(comparison)
        the_model_that_was_never_saved_is_tied_throughout(comparison)
    sizes_and_times_are_those_of_the_files(found, tmp_path)
    keras, other = (way.kept for way in found.ways)
    assert keras == {".keras": True, "tiedio": True}, "a reference that a custom layer serializes"
    assert other == {".keras": False, "tiedio": True}, "a variable passed to an operation"


def it_tells_what_it_does(lines: list[str]) -> None:
    assert lines[:2] == ["Loading Keras and its backend", "Masked language model, 32 examples"]
    assert lines[2].startswith("  epoch 1 of 2   loss ")
    assert lines[4].startswith("  new examples: ")
    assert lines[5:9] == [
        "  saving, loading and fine-tuning with .keras",
        "  saving, loading and fine-tuning with tiedio",
        "  fine-tuning the model that was never saved",
        "Two Conv2D, one kernel, 32 examples",
    ]


def it_ends_with_tables_at_60_columns(lines: list[str]) -> None:
    rows = [" ".join(line.split()) for line in lines]
    assert rows.count("tie kept yes no yes") == 2
    assert rows.count("weights still one yes no yes") == 2
    assert rows.count(".keras tiedio") == 1
    assert max(map(len, lines)) <= 60


def training_is_real(comparison: Comparison) -> None:
    first, last = comparison.training.epochs
    assert (first.number, last.number, last.of) == (1, 2, 2)
    assert last.loss < first.loss
    assert first.seconds > 0
    assert 0 < comparison.training.guess < 1


def keras_loses_the_tie_and_the_optimizer_state(comparison: Comparison) -> None:
    trip = comparison.trips[0]
    assert not trip.tie_kept
    assert trip.trainable > comparison.trainable
    assert trip.state_kept < comparison.state / 2
    assert any("Skipping variable loading for optimizer" in text for text in trip.warnings)
    assert trip.predictions_equal, "which is why nobody notices"
    assert not trip.tuned.still_one
    assert trip.tuned.difference > 0


def tiedio_keeps_everything(comparison: Comparison) -> None:
    trip = comparison.trips[1]
    assert trip.tie_kept
    assert trip.trainable == comparison.trainable
    assert trip.state_kept == comparison.state
    assert trip.warnings == ()
    assert trip.predictions_equal
    assert trip.tuned == comparison.tuned, "the loss of the next epochs included, bitwise"


def the_model_that_was_never_saved_is_tied_throughout(comparison: Comparison) -> None:
    assert comparison.tie_made
    assert comparison.tuned.still_one
    assert comparison.tuned.difference == 0
    # Adam keeps two arrays for each variable, and a step count.
    assert comparison.state == 2 * comparison.trainable + 1


def sizes_and_times_are_those_of_the_files(found: Findings, folder: Path) -> None:
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    for stem, comparison in zip(("language_model", "two_convolutions"), found.comparisons, strict=True):
        sizes = [trip.file_bytes for trip in comparison.trips]
        assert sizes == [files[f"{stem}.keras"], files[f"{stem}.safetensors"]]
        assert all(trip.save_seconds > 0 < trip.load_seconds for trip in comparison.trips)
