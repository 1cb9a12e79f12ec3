"""What a review got past the audit is refused now, and what nothing is made of does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tests.hostile.configurations import Attack, argument, function
from tests.hostile.editing import write_edited
from tests.hostile.found_by_review import ATTACKS
from tests.hostile.test_configurations import good, path  # noqa: F401 - fixtures
from tests.hostile.watching import suspicious, watched
from tiedio.container.header import parse_header
from tiedio.errors import FormatError, MismatchError


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_is_refused_by_load(attack: Attack, good: Path, path: Path) -> None:  # noqa: F811
    write_edited(path, good, attack.change)
    events, error = watched(lambda: tiedio.load(path))
    assert isinstance(error, attack.error), repr(error)
    with pytest.raises(type(error), match=attack.says):
        raise error
    assert suspicious(events, str(path)) == []


@pytest.mark.parametrize("value", ["a path", "gs://nowhere/x", None, 5, {"a": 1}, [["a", "b"]], [None], "[" * 50])
def test_a_vocabulary_that_is_no_list_of_tokens_is_not_taken_for_the_name_of_a_file(
    value: Any,
    path: Path,  # noqa: F811
) -> None:
    other = path.with_name("words.txt")
    other.write_text("secret\n")
    look = keras.layers.StringLookup(name="look")
    look.adapt([f"word {n}" for n in range(100)])
    tiedio.save(keras.Sequential([keras.Input((1,), dtype="string"), look]), path)
    raw = path.read_bytes()
    header = parse_header(raw, len(raw))
    tensor = header.entries["look/@vocabulary/tokens"]
    start, stop = header.data_start + tensor.start, header.data_start + tensor.stop
    text = json.dumps(str(other) if value == "a path" else value)
    path.write_bytes(raw[:start] + text.encode().ljust(stop - start) + raw[stop:])
    with pytest.raises(MismatchError, match="is no list of tokens"):
        tiedio.load(path)


def test_a_constant_of_truth_values_has_no_other_bytes_than_0_and_1(path: Path) -> None:  # noqa: F811
    inputs = keras.Input((3,))
    chosen = keras.ops.where(np.array([True, False, True]), inputs, 0.0)
    tiedio.save(keras.Model(inputs, chosen), path)
    raw = path.read_bytes()
    header = parse_header(raw, len(raw))
    start = header.data_start + header.entries["@constant/0"].start
    path.write_bytes(raw[:start] + b"\x07" + raw[start + 1 :])
    with pytest.raises(FormatError, match="neither 0 nor 1"):
        tiedio.load(path)


def test_an_activation_of_keras_hub_by_its_registered_name_is_no_attack(good: Path, path: Path) -> None:  # noqa: F811
    gelu = "keras_hub>gelu_approximate"
    write_edited(path, good, argument("activation", function("builtins", gelu)))
    assert tiedio.load(path).get_layer("dense").activation.__name__ == "gelu_approximate"
