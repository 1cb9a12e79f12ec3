"""Epochs that were trained already are run once more without computing: only their data is drawn.

So iterators, shuffles and generators come to where they were, whatever they are. Other callbacks hear nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from tiedio.callbacks import states


class Drawing:
    """Stands for a model's train or test function: draws what its steps would take, and computes nothing.

    Its first call is a real one: it traces the function and builds what is not yet built, and whatever that draws is
    drawn at the same place as ever. What it computes is overwritten when the replay ends.

    Args:
        model: the model.
        name: of the attribute, `train_function` or `test_function`.
        called: asked after each call; what it gives is returned as logs.
    """

    def __init__(self, model: Any, name: str, called: Callable[[], dict[str, Any]]) -> None:
        self._model = model
        self._name = name
        self._called = called
        self._real: Any = None
        self.calls = 0
        self.armed = False

    def put_in_place(self) -> None:
        """Puts itself where the model has its own function, which has to be made."""
        self._real = getattr(self._model, self._name)
        setattr(self._model, self._name, self)

    def take_away(self) -> None:
        """Gives the model its own function again."""
        if getattr(self._model, self._name) is self:
            setattr(self._model, self._name, self._real)

    def __call__(self, iterator: Any) -> Any:
        """What `fit` and `evaluate` call for each execution of steps."""
        if not self.armed:  # a `fit` that failed has left this behind: whoever calls now wants the real one
            self.take_away()
            return self._real(iterator)
        self.armed = False
        try:
            if self.calls == 0:
                self._real(iterator)
            else:
                self._draw(iterator)
        except StopIteration:  # the data ends here
            raise
        except BaseException:
            self.take_away()
            raise
        self.calls += 1
        return self._called()

    def _draw(self, iterator: Any) -> None:
        for step in range(self._model.steps_per_execution):
            try:
                next(iterator)
            except StopIteration:
                if step == 0:
                    raise
                return


class Front(keras.callbacks.Callback):  # type: ignore[misc]
    """The first callback of the list while a training is backed up: it knows of each event before all others.

    Args:
        epoch_begins: called with the number of each epoch.
        epoch_replayed: called with the number of each epoch that was only replayed.
        train_ends: called when the training ends.
    """

    def __init__(
        self,
        epoch_begins: Callable[[int], None],
        epoch_replayed: Callable[[int], None],
        train_ends: Callable[[dict[str, Any] | None], None],
    ) -> None:
        super().__init__()
        self._epoch_begins = epoch_begins
        self._epoch_replayed = epoch_replayed
        self._train_ends = train_ends
        self.replay: Replay | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._epoch_begins(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        if self.replay is not None:
            self.replay.arm(self.replay.train, batch)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        if self.replay is not None:
            self.replay.arm(self.replay.test, batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        if self.replay is not None and self.replay.reached:
            self.replay.end()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        if self.replay is not None:
            self._epoch_replayed(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._train_ends(logs)


class Replay:
    """One replay, from when it begins until the training goes on or fails.

    Args:
        model: the model.
        batches: of the epoch that the backup was made in, how many were trained; `None` if it was made at an end.
        logs: of the last of these batches.
        on_first: called when the first step was computed: the model is built from then on.
        on_end: called when all that was trained has been drawn again.
    """

    def __init__(
        self,
        model: Any,
        batches: int | None,
        logs: dict[str, Any],
        on_first: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self._model = model
        self._batches = batches
        self._logs = logs
        self._on_first = on_first
        self._on_end = on_end
        self._batch = 0
        self._before = states.randomness()
        self._moved: set[str] = set()
        self._first_moved: set[str] = set()
        self.in_epoch = False
        self.reached = False
        self.train = Drawing(model, "train_function", self._train_called)
        self.test = Drawing(model, "test_function", dict)

    def begin(self) -> None:
        """Puts the drawing functions in their places."""
        model = self._model
        model.make_test_function()
        self.train.put_in_place()
        self.test.put_in_place()

    def arm(self, function: Drawing, batch: int) -> None:
        """Lets a drawing function be called once: it is `fit` that is about to call it."""
        function.armed = True
        if function is self.train:
            self._batch = batch
            if function.calls == 0:
                self._look()

    def _look(self) -> None:
        now = states.randomness()
        self._moved |= states.moved(self._before, now)
        self._before = now

    def _train_called(self) -> dict[str, Any]:
        if self.train.calls == 1:
            self._first()
        if self.in_epoch and self._batch + self._model.steps_per_execution == self._batches:
            self.reached = True
            return self._logs
        return {}

    def _first(self) -> None:
        self.take_away()  # loading may make functions anew, for an optimizer that it builds
        self._on_first()
        self.begin()
        now = states.randomness()
        self._first_moved = states.moved(self._before, now)
        self._before = now

    def unmoved(self) -> set[str]:
        """The generators that no data has drawn from: what the skipped steps drew is then all that is missing.

        The others are where they were by themselves, and may be ahead by what was fetched in advance.
        """
        self._look()
        moved = self._moved | (self._first_moved if self.train.calls == 1 else set())
        return {"python", "numpy", "keras"} - moved

    def end(self) -> None:
        """Gives the model its own functions again, and tells that the training goes on."""
        self.take_away()
        self._on_end()

    def take_away(self) -> None:
        """Gives the model its own functions again."""
        self.train.take_away()
        self.test.take_away()
