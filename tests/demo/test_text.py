"""The text that the language model learns."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tiedio.demo import text
from tiedio.errors import TiedioError


def test_the_text_is_real_and_long_enough() -> None:
    words = text.split_words(text.python_text())
    assert len(words) > 50_000
    assert {"iterable", "exception", "("} <= set(words)


def test_every_word_can_be_spelled_back() -> None:
    words = text.split_words("The Cat sat; the catalog of __init__ at the zoo, 3.5!")
    vocabulary = text.make_vocabulary(words, 74)
    numbers = text.encode(words, vocabulary)
    assert "".join(vocabulary[number] for number in numbers) == "".join(words)
    assert len(numbers) > len(words), "a rare word takes several pieces"


def test_a_sign_that_nobody_knows_is_other() -> None:
    vocabulary = text.make_vocabulary([], 200)
    assert text.encode(["\N{SNOWMAN}"], vocabulary).tolist() == [text.OTHER]


def test_the_vocabulary_holds_frequent_words_once_and_no_more_than_asked() -> None:
    words = ["loop"] * 3 + ["a"] * 9 + ["if"] * 5 + ["rare"]
    vocabulary = text.make_vocabulary(words, len(text.make_vocabulary([], 999)) + 2)
    assert vocabulary[-2:] == ["if", "loop"]
    assert len(vocabulary) == len(set(vocabulary))


def test_masked_tokens_are_hidden_and_only_they_count() -> None:
    tokens = np.arange(10, 410, dtype="int32")
    masked = text.mask(tokens, length=8, share=0.15, seed=1)
    hidden = masked.weights == 1
    assert len(masked) == 50
    assert np.array_equal(masked.targets.reshape(-1), tokens)
    assert (masked.inputs[hidden] == text.MASK).all()
    assert np.array_equal(masked.inputs[~hidden], masked.targets[~hidden])
    assert 0.05 < hidden.mean() < 0.25
    assert set(np.unique(masked.weights)) == {0.0, 1.0}


def test_a_python_without_help_texts_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(TiedioError, match=r"pydoc_data\.topics: .* Remedy: install the full standard library"):
        text.python_text()
