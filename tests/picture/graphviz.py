"""Whether pictures can be drawn here."""

from __future__ import annotations

import os
import shutil

import pytest

needs_graphviz = pytest.mark.skipif(
    shutil.which("dot") is None and not os.environ.get("TIEDIO_NEED_GRAPHVIZ"), reason="needs Graphviz"
)
"""Skips a test where the program `dot` is missing, unless TIEDIO_NEED_GRAPHVIZ says that it may not be."""
