"""What Keras's callbacks that watch a metric have in common: read in Keras 3.15.1."""

from __future__ import annotations

from typing import Any

from keras.src.callbacks.monitor_callback import MonitorCallback as _MonitorCallback
from keras.src.utils.io_utils import print_msg

MonitorCallback: Any = _MonitorCallback
"""The base of Keras's own `ModelCheckpoint`: a callback that knows which of two values is better."""


def print_message(text: str) -> None:
    """Prints a line as Keras's callbacks do: to standard output, or to the log where that is not interactive."""
    print_msg(text)
