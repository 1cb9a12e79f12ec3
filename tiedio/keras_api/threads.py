"""What other threads are doing: whether one is in the middle of a step that changes a variable.

A thread's stack tells: read in Keras 3.15.1 and TensorFlow 2.21, where every compiled function is called by
`AtomicFunction.call_flat` with the handles of the variables that it captured, and an optimizer changes variables in
`apply` (an eager step: inside `Model.train_step`).
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any

from tiedio.keras_api.classes import BaseOptimizer, Model, keras

_APPLY = ("apply", "apply_gradients", "stateless_apply")
_TRAIN = ("train_step",)
_COMPUTING = ("tensorflow.", "keras.", "jax.", "torch.")


def is_alone() -> bool:
    """Whether no other thread is running Python code, or waits inside it."""
    return len(sys._current_frames()) == 1


def standing() -> dict[int, tuple[FrameType, int, str]]:
    """Where each other thread stands, and how long it has run by now, for `have_stood`."""
    natives = {one.ident: one.native_id for one in threading.enumerate()}
    return {
        thread: (frame, frame.f_lasti, _run(natives[thread]) if thread in natives else "unknown")
        for thread, frame in sys._current_frames().items()
        if thread != threading.get_ident()
    }


def have_stood(before: Mapping[int, tuple[FrameType, int, str]]) -> bool:
    """Whether every other thread stood still since `standing` was asked, as one does that waits for something.

    A thread that Python's `threading` did not start, and that is at the very same call again, is taken to have waited.
    """
    now = standing()
    if now.keys() != before.keys():
        return False
    pairs = ((now[thread], then) for thread, then in before.items())
    return all(one[0] is then[0] and one[1:] == then[1:] and one[2] != "" for one, then in pairs)


def _run(native: int | None) -> str:
    """How long a thread has run, and how often, as Linux counts; nothing where it does not tell."""
    try:
        with open(f"/proc/self/task/{native}/schedstat", encoding="ascii") as file:
            told = file.read()
    except OSError:
        return ""
    return "" if told.startswith("0 ") else told


def others_compute() -> bool:
    """Whether another thread is inside code of Keras or of a backend, whatever it does there."""
    return any(str(frame.f_globals.get("__name__", "")).startswith(_COMPUTING) for frame in _frames_of_others())


def is_changed_elsewhere(variables: Iterable[Any]) -> bool:
    """Whether another thread is in the middle of a step that writes to one of these variables.

    Args:
        variables: objects of `keras.Variable`.
    """
    frames = [frame for frame in _frames_of_others() if frame.f_code.co_name in (*_APPLY, *_TRAIN, "call_flat")]
    if not frames:
        return False
    known: dict[int, Any] = {}
    for variable in variables:
        raw = variable._value
        for one in (variable, raw, getattr(raw, "_handle", None)):
            known[id(one)] = one
    known.pop(id(None), None)
    return any(id(one) in known for frame in frames for one in _written_in(frame))


def _frames_of_others() -> Iterator[FrameType]:
    # One moment for all threads; while it is looked through they run on, and a frame that has ended knows its caller.
    for thread, top in sys._current_frames().items():
        frame: FrameType | None = top if thread != threading.get_ident() else None
        while frame is not None:
            yield frame
            frame = frame.f_back


def _written_in(frame: FrameType) -> Iterable[Any]:
    """What a frame of one of the names above may write to: variables of Keras or of the backend, and handles."""
    name, of = frame.f_code.co_name, frame.f_locals.get("self")
    if name in _APPLY:
        return [*of.variables, *getattr(of, "_trainable_variables", ())] if isinstance(of, BaseOptimizer) else ()
    if name in _TRAIN:
        return of.variables if isinstance(of, Model) else ()
    if keras.backend.backend() != "tensorflow" or not hasattr(type(of), "call_flat"):
        return ()
    return [one for n, one in enumerate(frame.f_locals.get("args", ())) if n in _written_by(of)]


_written: weakref.WeakKeyDictionary[Any, frozenset[int]] = weakref.WeakKeyDictionary()


def _written_by(function: Any) -> frozenset[int]:
    """The arguments, by position, that a function of TensorFlow may write to."""
    from tensorflow.python.framework import auto_control_deps_utils, dtypes

    if function not in _written:
        read_only = auto_control_deps_utils.get_read_only_resource_input_indices_graph(function.graph)
        resources = (n for n, one in enumerate(function.graph.inputs) if one.dtype == dtypes.resource)
        _written[function] = frozenset(resources) - frozenset(read_only)
    return _written[function]
