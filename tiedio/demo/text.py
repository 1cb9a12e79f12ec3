"""Real text that every Python carries, cut into masked windows of token numbers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tiedio.errors import TiedioError

PAD, MASK, OTHER = 0, 1, 2
_SPECIAL = ("[pad]", "[mask]", "[other]")
_WORD = re.compile(r"[a-z]+|[^\sa-z]")


@dataclass(frozen=True, slots=True)
class MaskedText:
    """Windows of text in which some tokens are hidden.

    Args:
        inputs: token numbers with the hidden ones replaced by the mask, shape (windows, length), int32.
        targets: the tokens as they stood in the text, same shape, int32.
        weights: 1.0 where a token is hidden and to be guessed, else 0.0, same shape, float32.

    Example:
        >>> import numpy as np
        >>> one = np.ones((2, 4), "int32")
        >>> len(MaskedText(one, one, one.astype("float32")))
        2
    """

    inputs: NDArray[np.int32]
    targets: NDArray[np.int32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.inputs)


def python_text() -> str:
    """Return the help text on Python's own language topics, about 700 kB of English and code.

    Returns:
        all topics of `pydoc_data.topics`, one after the other.

    Raises:
        TiedioError: if this Python was installed without `pydoc_data`.

    Example:
        >>> "assert" in python_text()
        True
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise TiedioError(
            "the demo's text is missing",
            path="pydoc_data.topics",
            expected="a Python with its help texts",
            found=str(error),
            remedy="install the full standard library of this Python",
        ) from error
    return "\n".join(topics[name] for name in sorted(topics))


def split_words(text: str) -> list[str]:
    """Split a text into lower-case words and single signs.

    Args:
        text: any text.

    Returns:
        the words and signs in order, without blanks.

    Example:
        >>> split_words("Return x+1.")
        ['return', 'x', '+', '1', '.']
    """
    return _WORD.findall(text.lower())


def make_vocabulary(words: list[str], size: int) -> list[str]:
    """Choose the special tokens, the ASCII signs and letters, then the most frequent words.

    Args:
        words: the words of the text, in order.
        size: how many tokens to keep.

    Returns:
        the tokens; a token's number is its place in the list.

    Example:
        >>> make_vocabulary(["the", "cat", "the"], 100)[-2:]
        ['the', 'cat']
    """
    tokens = [*_SPECIAL, *(chr(code) for code in range(33, 127) if not chr(code).isupper())]
    known = set(tokens)
    # Counter.most_common keeps first-seen order between equals, so the same text gives the same list.
    for word, _ in Counter(words).most_common():
        if len(tokens) >= size:
            break
        if word not in known:
            tokens.append(word)
    return tokens[:size]


def encode(words: list[str], vocabulary: list[str]) -> NDArray[np.int32]:
    """Turn words into token numbers; a rare word is spelled in the longest pieces that are known.

    Args:
        words: the words of the text, in order.
        vocabulary: the tokens, as `make_vocabulary` returns them.

    Returns:
        the token numbers, shape (tokens,), int32.

    Example:
        >>> vocabulary = make_vocabulary(["cat"], 100)
        >>> [vocabulary[number] for number in encode(["cats"], vocabulary)]
        ['cat', 's']
    """
    numbers = {token: number for number, token in enumerate(vocabulary)}
    pieces: dict[str, list[int]] = {}
    for word in set(words):
        pieces[word] = _spell(word, numbers)
    return np.array([number for word in words for number in pieces[word]], dtype=np.int32)


def _spell(word: str, numbers: dict[str, int]) -> list[int]:
    found: list[int] = []
    start = 0
    while start < len(word):
        end = len(word)
        while end > start + 1 and word[start:end] not in numbers:
            end -= 1
        found.append(numbers.get(word[start:end], OTHER))
        start = end
    return found


def mask(tokens: NDArray[np.int32], length: int, share: float, seed: int) -> MaskedText:
    """Cut tokens into windows and hide a share of them.

    Args:
        tokens: token numbers of a running text, shape (tokens,).
        length: tokens in a window.
        share: share of the tokens to hide, between 0 and 1.
        seed: seed of the choice.

    Returns:
        the masked windows; tokens left over at the end are dropped.

    Example:
        >>> import numpy as np
        >>> text = mask(np.arange(10, 20, dtype="int32"), length=4, share=0.5, seed=0)
        >>> text.targets.tolist()
        [[10, 11, 12, 13], [14, 15, 16, 17]]
        >>> bool((text.inputs[text.weights == 1] == MASK).all())
        True
    """
    windows = tokens[: len(tokens) // length * length].reshape(-1, length)
    hidden = np.random.default_rng(seed).random(windows.shape) < share
    inputs = np.where(hidden, np.int32(MASK), windows)
    return MaskedText(inputs, windows, hidden.astype(np.float32))
