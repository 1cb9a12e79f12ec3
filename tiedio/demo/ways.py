"""Two other ways to make the language model's tie, and what each format makes of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tiedio.demo import models
from tiedio.demo.measure import FORMATS, Format
from tiedio.demo.subjects import LENGTH, VOCABULARY, WIDTH

_WAYS: dict[models.Output, str] = {
    "reference": "custom layer that serializes its reference to the Embedding",
    "operation": "the matrix passed to an operation, keras.ops.einsum",
}


@dataclass(frozen=True, slots=True)
class Way:
    """What the formats made of one way to tie.

    Args:
        text: the way, in a few words.
        kept: per format name, whether the tie was kept; the name of the error if it could not be loaded.
    """

    text: str
    kept: dict[str, bool | str]


def other_ways(
    folder: Path,
    *,
    formats: tuple[Format, ...] = FORMATS,
    vocabulary: int = VOCABULARY,
    width: int = WIDTH,
) -> tuple[Way, ...]:
    """Save and load language models that are tied in other ways, without training them.

    Args:
        folder: where to write the files.
        formats: the formats to compare.
        vocabulary: number of tokens.
        width: size of a token's vector; even.

    Returns:
        one entry per way.
    """
    found = []
    for output, text in _WAYS.items():
        model = models.language_model(vocabulary, width, LENGTH, output)
        kept: dict[str, bool | str] = {}
        for form in formats:
            path = folder / f"{output}{form.suffix}"
            try:
                form.save(model, path)
                # Keras warns about an optimizer that has not been used yet; that says nothing about the tie.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    kept[form.name] = follows(form.load(path))
            except Exception as error:  # noqa: BLE001 - a format that fails is a finding, not an end
                kept[form.name] = type(error).__name__
        found.append(Way(text, kept))
    return tuple(found)


def follows(model: Any) -> bool:
    """Say by behavior whether the output uses the embedding matrix.

    Every row but the first is set to zero and only the first token is read, so that the scores of all other
    tokens must be zero if they are taken with this matrix, and are not if they are taken with another.

    Args:
        model: an untrained language model, its biases zero; its matrix is overwritten.

    Returns:
        whether the scores followed.

    Example:
        >>> follows(models.language_model(20, 4, 8))
        True
    """
    matrix = model.get_layer("embedding").embeddings
    first = np.zeros((matrix.shape[0], 1), "float32")
    first[0] = 1
    matrix.assign(matrix * first)
    scores = keras.ops.convert_to_numpy(model(np.zeros((1, model.input_shape[1]), "int32")))
    return bool(scores[..., 0].any()) and not scores[..., 1:].any()
