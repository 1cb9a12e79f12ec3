"""The demo's data."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tiedio.demo import subjects
from tiedio.errors import TiedioError

TINY = subjects.Size(train=24, tune=8, test=8, epochs=1, batch=8)


def rows(data: subjects.Data) -> set[bytes]:
    return {row.tobytes() for row in data.inputs}


def test_no_image_is_in_two_parts() -> None:
    subject = subjects.digits_subject(TINY, filters=2)
    parts = [rows(subject.train), rows(subject.tune), rows(subject.test)]
    assert [len(part) for part in parts] == [24, 8, 8]
    assert len(set.union(*parts)) == 40
    assert subject.train.inputs.min() >= 0
    assert subject.train.inputs.max() == 1


def test_the_full_sizes_fit_the_data() -> None:
    digits = subjects.digits_subject(filters=2)
    language = subjects.language_subject(width=4)
    assert len(digits.train.inputs) == subjects.DIGITS_SIZE.train
    assert len(language.train.inputs) == subjects.LANGUAGE_SIZE.train
    # Batches of one size, so that nothing is compiled twice.
    for size in (subjects.DIGITS_SIZE, subjects.LANGUAGE_SIZE):
        assert [part % size.batch for part in (size.train, size.tune, size.test)] == [0, 0, 0]


def test_the_same_seed_gives_the_same_parts() -> None:
    one, other = (subjects.language_subject(TINY, vocabulary=100, width=4) for _ in range(2))
    assert one.train.inputs.tobytes() == other.train.inputs.tobytes()


def test_guessing_counts_only_what_counts() -> None:
    targets = np.array([[1, 1, 2], [2, 2, 3]])
    assert subjects.Data(targets, targets).guess() == pytest.approx(3 / 6)
    weights = np.array([[1.0, 1, 1], [0, 0, 1]])
    assert subjects.Data(targets, targets, weights).guess() == pytest.approx(2 / 4)


def test_too_few_examples_are_an_error() -> None:
    with pytest.raises(TiedioError, match="expected 9020, found 1797"):
        subjects.digits_subject(subjects.Size(train=9000, tune=10, test=10, epochs=1), filters=2)


def test_a_missing_scikit_learn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(TiedioError, match=r"Remedy: pip install 'tiedio\[demo\]'"):
        subjects.digits_subject(TINY)
