"""What the demo measures: a model with its data, and how to look at its ties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tiedio.demo import models, text
from tiedio.errors import TiedioError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Size:
    """How much the demo trains.

    Args:
        train: examples to train on.
        tune: examples to fine-tune on, none of them among the others.
        test: examples to measure accuracy and predictions on.
        epochs: epochs of training.
        batch: examples in a step.
    """

    train: int
    tune: int
    test: int
    epochs: int
    batch: int = 64


LANGUAGE_SIZE = Size(train=2816, tune=384, test=384, epochs=3)
DIGITS_SIZE = Size(train=1280, tune=256, test=256, epochs=4)
VOCABULARY, WIDTH, LENGTH = 1024, 48, 24


@dataclass(frozen=True, slots=True)
class Data:
    """Examples for `fit` and `evaluate`.

    Args:
        inputs: one row per example.
        targets: class numbers, one row per example.
        weights: what each target counts for, or `None` if all count alike.
    """

    inputs: Array
    targets: Array
    weights: Array | None = None

    def part(self, start: int, stop: int) -> Data:
        """Return the examples from `start` up to `stop`."""
        weights = None if self.weights is None else self.weights[start:stop]
        return Data(self.inputs[start:stop], self.targets[start:stop], weights)

    def guess(self) -> float:
        """Return the accuracy of always answering the most frequent class."""
        counted = self.targets if self.weights is None else self.targets[self.weights > 0]
        return float(np.bincount(counted.reshape(-1)).max() / counted.size)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to measure.

    Args:
        title: what it is, in a few words.
        tie: which weights are one, in a few words.
        model: the compiled model.
        pairs: gives the pairs of variables that are one where the ties are kept.
        size: how much to train.
        train: examples to train on.
        tune: examples to fine-tune on.
        test: examples to test on.
    """

    title: str
    tie: str
    model: Any
    pairs: Callable[[Any], models.Pairs]
    size: Size
    train: Data
    tune: Data
    test: Data


def language_subject(size: Size = LANGUAGE_SIZE, vocabulary: int = VOCABULARY, width: int = WIDTH) -> Subject:
    """Return the masked language model with Python's own help texts.

    Args:
        size: how much to train.
        vocabulary: number of tokens.
        width: size of a token's vector; even.

    Returns:
        the subject, not yet trained.

    Raises:
        TiedioError: if this Python was installed without its help texts.

    Example:
        >>> subject = language_subject(Size(train=8, tune=4, test=4, epochs=1), vocabulary=100, width=4)
        >>> subject.train.inputs.shape
        (8, 24)
    """
    words = text.split_words(text.python_text())
    tokens = text.encode(words, text.make_vocabulary(words, vocabulary))
    masked = text.mask(tokens, LENGTH, share=0.15, seed=0)
    train, tune, test = _split(Data(masked.inputs, masked.targets, masked.weights), size)
    return Subject(
        title="Masked language model",
        tie="the output layer's kernel is the embedding matrix",
        model=models.language_model(vocabulary, width, LENGTH),
        pairs=models.language_pairs,
        size=size,
        train=train,
        tune=tune,
        test=test,
    )


def digits_subject(size: Size = DIGITS_SIZE, filters: int = 32) -> Subject:
    """Return the two convolutions with scikit-learn's images of handwritten digits.

    Args:
        size: how much to train.
        filters: number of filters.

    Returns:
        the subject, not yet trained.

    Raises:
        TiedioError: if scikit-learn is not installed.

    Example:
        >>> digits_subject(Size(train=8, tune=4, test=4, epochs=1), filters=2).test.inputs.shape
        (4, 8, 8, 1)
    """
    require_digits()
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 8, 8, 1) / 16).astype("float32")
    train, tune, test = _split(Data(images, digits.astype("int32")), size)
    return Subject(
        title="Two Conv2D, one kernel",
        tie="near and wide share kernel and bias",
        model=models.two_convolutions(filters),
        pairs=models.convolution_pairs,
        size=size,
        train=train,
        tune=tune,
        test=test,
    )


def require_digits() -> None:
    """Check that the images can be read, before anybody waits for a training that comes first.

    Raises:
        TiedioError: if scikit-learn is not installed.

    Example:
        >>> require_digits()
    """
    try:
        import sklearn.datasets  # noqa: F401
    except ImportError as error:
        raise TiedioError(
            "the demo's images are missing",
            path="sklearn.datasets",
            expected="scikit-learn",
            found=str(error),
            remedy="pip install 'tiedio[demo]'",
        ) from error


def _split(data: Data, size: Size) -> tuple[Data, Data, Data]:
    """Return train, tune and test parts, drawn once by a fixed seed; nothing is in two of them."""
    wanted = size.train + size.tune + size.test
    if len(data.inputs) < wanted:
        raise TiedioError(
            "too few examples for the demo", expected=wanted, found=len(data.inputs), remedy="ask for fewer"
        )
    order = np.random.default_rng(0).permutation(len(data.inputs))
    weights = None if data.weights is None else data.weights[order]
    mixed = Data(data.inputs[order], data.targets[order], weights)
    tuned = size.train + size.tune
    return mixed.part(0, size.train), mixed.part(size.train, tuned), mixed.part(tuned, wanted)
