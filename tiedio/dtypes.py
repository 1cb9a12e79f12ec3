"""Names of dtypes as NumPy's; needs no Keras."""

from __future__ import annotations

from typing import Any

import numpy as np

_OF_ML_DTYPES = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The NumPy dtype of a Keras dtype.

    Example:
        >>> from tiedio.dtypes import numpy_dtype
        >>> numpy_dtype("bfloat16").itemsize, numpy_dtype("int64").itemsize
        (2, 8)
    """
    if dtype in _OF_ML_DTYPES:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, dtype))
        return found
    return np.dtype(dtype)
