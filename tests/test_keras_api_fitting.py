"""What is read of a running `fit` is still there: it fails when Keras changes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from tiedio import keras_api


class Looks(keras.callbacks.Callback):
    """Looks around when the training begins."""

    found: keras_api.Fit | None = None
    start: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Called by Keras."""
        self.found = keras_api.running_fit()
        if self.start is not None:
            keras_api.start_at(self.model, self.start)


def trained(**options: Any) -> tuple[Any, Looks]:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    looks = Looks()
    looks.start = options.pop("start", None)
    history = model.fit(np.ones((10, 2)), np.ones((10, 1)), callbacks=[looks], verbose=0, **options)
    return history, looks


def test_the_running_fit_and_its_data_are_found() -> None:
    _, looks = trained(batch_size=4)
    assert looks.found is not None
    assert looks in looks.found.callbacks.callbacks
    assert looks.found.facts() == {"steps": 3, "batch": 4, "last": 2, "execution": 1}
    assert isinstance(looks.found.callbacks._async_train, bool)


class Sequence(keras.utils.PyDataset):
    """Three batches of four."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return np.ones((4, 2)), np.ones((4, 1))


def dataset() -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((np.ones((12, 2)), np.ones((12, 1)))).batch(4)


@pytest.mark.parametrize("data", [lambda: iter(Sequence()[0] for _ in range(9)), Sequence, dataset])
def test_facts_are_told_of_data_of_every_kind(data: Any) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    looks = Looks()
    model.fit(data(), steps_per_epoch=3, shuffle=False, callbacks=[looks], verbose=0)
    assert looks.found is not None
    facts = looks.found.facts()
    assert facts["steps"] == 3
    assert facts["batch"] in (4, None)


def test_outside_of_fit_none_is_found() -> None:
    assert keras_api.running_fit() is None


def test_a_callback_may_say_where_fit_begins() -> None:
    assert trained(epochs=3, start=2)[0].epoch == [2]


def test_the_global_seed_generator_is_made_only_if_asked_for() -> None:
    assert keras_api.global_seed_state() is None
    assert keras_api.global_seed_state(make=True) is keras_api.global_seed_state()
