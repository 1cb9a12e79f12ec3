"""Everything that `load` does before it makes the first object: the audit of the configuration included."""

from __future__ import annotations

from typing import Any
from unittest import mock

import tiedio
from tiedio import pipeline
from tiedio.errors import TiedioError


class Reached(TiedioError):  # noqa: N818 - no error, but the end of the way
    """The audit has passed."""


def _stop(*_args: Any, **_options: Any) -> Any:
    raise Reached("the audit has passed")


def audited(path: str) -> bool:
    """Whether a file passes the audit; an error of the library if it does not."""
    with mock.patch.object(pipeline, "Rebuilder", _stop):
        try:
            tiedio.load(path)
        except Reached:
            return True
    return False
