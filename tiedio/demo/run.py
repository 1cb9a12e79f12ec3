"""The demo from beginning to end: measure both models, then the other ways to tie; print nothing."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import keras

import tiedio
from tiedio.demo.measure import FORMATS, REPEATS, Comparison, Epoch, Format, RoundTrip, Training, compare
from tiedio.demo.subjects import (
    DIGITS_SIZE,
    LANGUAGE_SIZE,
    VOCABULARY,
    WIDTH,
    Size,
    Subject,
    digits_subject,
    language_subject,
    require_digits,
)
from tiedio.demo.ways import Way, other_ways
from tiedio.errors import MismatchError


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that one run of the demo measured.

    Args:
        comparisons: one per model.
        ways: other ways to make a tie.
        setting: where it ran: system, cores and versions.
        repeats: how many saves and loads the medians are of.
        seconds: wall-clock time of the whole run, imports not included.
    """

    comparisons: tuple[Comparison, ...]
    ways: tuple[Way, ...]
    setting: str
    repeats: int
    seconds: float


def run(
    folder: Path,
    *,
    language: Size = LANGUAGE_SIZE,
    digits: Size = DIGITS_SIZE,
    vocabulary: int = VOCABULARY,
    width: int = WIDTH,
    formats: tuple[Format, ...] = FORMATS,
    repeats: int = REPEATS,
    say: Callable[[str], None] = lambda line: None,
) -> Findings:
    """Run the demo.

    Args:
        folder: where to write the files.
        language: how much to train the language model.
        digits: how much to train the convolutions.
        vocabulary: number of tokens.
        width: size of a token's vector; even.
        formats: the formats to compare.
        repeats: how often to save and load for the medians.
        say: called with a line of progress.

    Returns:
        what was measured.

    Raises:
        TiedioError: if scikit-learn or Python's help texts are not installed.
    """
    start = time.perf_counter()
    require_digits()
    # Weights, and so every figure but the times, are the same in every run on one machine.
    keras.utils.set_random_seed(0)
    subjects = (language_subject(language, vocabulary, width), digits_subject(digits))
    comparisons = tuple(_compare(subject, folder, formats, repeats, say) for subject in subjects)
    say("Other ways to make the tie")
    ways = other_ways(folder, formats=formats, vocabulary=vocabulary, width=width)
    return Findings(comparisons, ways, setting(), repeats, time.perf_counter() - start)


def check(findings: Findings) -> None:
    """Check that tiedio kept what it guarantees; the demo must not end well otherwise.

    Args:
        findings: what was measured.

    Raises:
        MismatchError: if tiedio lost something in this run.
    """
    broken = [
        f"{comparison.title}: {', '.join(lost)}"
        for comparison in findings.comparisons
        for trip in comparison.trips
        if trip.format == "tiedio" and (lost := lost_by(comparison, trip))
    ]
    if broken:
        raise MismatchError(
            "the demo found the guarantee broken",
            expected="nothing lost",
            found="; ".join(broken),
            remedy="please report this with the table above",
        )


def lost_by(comparison: Comparison, trip: RoundTrip) -> list[str]:
    """Name what a format lost.

    Args:
        comparison: what was measured of a model.
        trip: one of its round trips.

    Returns:
        what was lost, in a few words each.
    """
    kept = {
        "the tie": trip.tie_kept == comparison.tie_made,
        "the number of trainable variables": trip.trainable == comparison.trainable,
        "the optimizer's state": trip.state_kept == comparison.state,
        "the predictions": trip.predictions_equal,
        "the tie after fine-tuning": trip.tuned.still_one == comparison.tuned.still_one,
    }
    return [what for what, is_kept in kept.items() if not is_kept]


def setting() -> str:
    """Return where this runs: system, cores and versions.

    Returns:
        one line.

    Example:
        >>> "Keras" in setting()
        True
    """
    # Keras names its backends as their modules are named; the distribution may have another name.
    backend = keras.backend.backend()
    versions = [
        f"Python {platform.python_version()}",
        f"Keras {keras.__version__}",
        f"{backend} {import_module(backend).__version__}",
        f"tiedio {tiedio.__version__}",
    ]
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {', '.join(versions)}"


def _compare(
    subject: Subject, folder: Path, formats: tuple[Format, ...], repeats: int, say: Callable[[str], None]
) -> Comparison:
    say(f"{subject.title}, {len(subject.train.inputs)} examples")

    def on_epoch(epoch: Epoch) -> None:
        say(
            f"  epoch {epoch.number} of {epoch.of}   loss {epoch.loss:.3f}   "
            f"accuracy {epoch.accuracy:.1%}   {epoch.seconds:.1f} s"
        )

    def on_trained(training: Training) -> None:
        say(f"  new examples: {training.after:.1%} right (before {training.before:.1%}, guessing {training.guess:.1%})")

    return compare(
        subject,
        folder,
        formats=formats,
        repeats=repeats,
        on_epoch=on_epoch,
        on_trained=on_trained,
        on_step=lambda step: say(f"  {step}"),
    )
