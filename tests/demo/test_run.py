"""The demo from beginning to end."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from tiedio.demo.run import Findings, check, lost_by, run, setting
from tiedio.errors import MismatchError, TiedioError


def test_a_broken_guarantee_does_not_end_well(findings: Findings) -> None:
    check(findings)
    comparison = findings.comparisons[0]
    lost, kept = comparison.trips
    assert lost_by(comparison, kept) == []
    assert lost_by(comparison, lost) == [
        "the tie",
        "the number of trainable variables",
        "the optimizer's state",
        "the tie after fine-tuning",
    ]
    broken = dataclasses.replace(kept, predictions_equal=False, state_kept=8)
    worse = dataclasses.replace(comparison, trips=(lost, broken))
    with pytest.raises(MismatchError, match="found Two Conv2D: the optimizer's state, the predictions"):
        check(dataclasses.replace(findings, comparisons=(worse,)))


def test_a_missing_scikit_learn_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    lines: list[str] = []
    with pytest.raises(TiedioError, match=r"pip install 'tiedio\[demo\]'"):
        run(tmp_path, say=lines.append)
    assert lines == []


def test_the_setting_names_versions() -> None:
    import keras
    import tensorflow as tf

    assert f"Keras {keras.__version__}, tensorflow {tf.__version__}" in setting()
