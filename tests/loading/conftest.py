"""Models that only their own code makes, and a picture of everything that a loading could change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

X = np.linspace(-1, 1, 12).reshape(4, 3).astype("float32")
Y = np.linspace(1, -1, 12).reshape(4, 3).astype("float32")


class Net(keras.Model):
    """No config describes it: no get_config, a lambda, an argument that is a list of plain objects."""

    def __init__(self, width: int, activation: Any) -> None:
        super().__init__()
        self.first = keras.layers.Dense(width)
        self.second = keras.layers.Dense(width)
        self.norm = keras.layers.BatchNormalization()
        self.noise = keras.layers.Dropout(0.5, seed=3)
        self.parts = [keras.Variable(np.full((3,), 0.5, "float32"), name="part"), {"gain": self.add_weight((3,))}]
        self.activation = activation

    def call(self, x: Any, training: bool = False) -> Any:
        hidden = self.noise(self.norm(self.first(x), training=training), training=training)
        return self.activation(self.second(hidden)) * self.parts[0] + self.parts[1]["gain"]


def share_kernel(model: Any) -> None:
    """Gives the second layer the first one's kernel, as user code does."""
    with_tie = model.second
    stale = with_tie.kernel
    with_tie._tracker.unlock()
    with_tie._kernel = model.first.kernel
    store = with_tie._trainable_variables
    store[:] = [model.first.kernel if v is stale else v for v in store]
    with_tie._tracker.stored_ids["trainable_variables"] = {id(v) for v in store}
    with_tie._tracker.lock()


def make_net(seed: int = 0, tied: bool = True, optimizer: Any = "adam", steps: int = 0, traced: bool = False) -> Any:
    """A built `Net`; compiled unless `optimizer` is `None`, and trained for some steps; tracing takes seconds."""
    keras.utils.set_random_seed(seed)
    model = Net(3, lambda x: keras.ops.tanh(x))
    model(X)
    if tied:
        share_kernel(model)
    if optimizer is not None:
        model.compile(optimizer, "mse", run_eagerly=not traced)
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model


def values_of(model: Any) -> list[bytes]:
    return [np.array(v).tobytes() for v in model.variables]


def step(model: Any) -> tuple[Any, list[bytes], list[bytes]]:
    """The loss of the next training step, and all values after it."""
    model.reset_metrics()
    loss = model.train_on_batch(X, Y)
    state = [] if model.optimizer is None else [np.array(v).tobytes() for v in model.optimizer.variables]
    return loss, values_of(model), state


def picture(*models: Any) -> Any:
    """Everything that may not change when a loading fails: objects by identity, values bit for bit."""
    seen: dict[int, Any] = {}
    layers = {id(layer): layer for model in models for layer in model._flatten_layers()}
    for layer in layers.values():
        owned = [*layer._trainable_variables, *layer._non_trainable_variables]
        seen[id(layer)] = (
            [id(v) for v in layer._trainable_variables],
            [id(v) for v in layer._non_trainable_variables],
            [(v.trainable, v.path, v.name, id(v.regularizer), np.array(v).tobytes()) for v in owned],
            {name: _look(value) for name, value in vars(layer).items() if not name.startswith("_self_")},
            [np.array(generator.state).tobytes() for generator in layer._seed_generators],
        )
        optimizer = getattr(layer, "optimizer", None)
        if optimizer is not None:
            seen[id(optimizer)] = _optimizer(optimizer)
    return seen


def _optimizer(optimizer: Any) -> Any:
    inner = [_optimizer(v) for v in vars(optimizer).values() if isinstance(v, keras.optimizers.Optimizer)]
    values = [(id(v), np.array(v).tobytes()) for v in optimizer.variables]
    return {name: _look(value) for name, value in vars(optimizer).items()}, values, inner


def _look(value: Any) -> Any:
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return [_look(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _look(item) for key, item in value.items()}
    return id(value)


class Tools:
    """What tests in this folder use."""

    x, y = X, Y
    net = staticmethod(make_net)
    share = staticmethod(share_kernel)
    step = staticmethod(step)
    picture = staticmethod(picture)
    values = staticmethod(values_of)


@pytest.fixture
def tools() -> type[Tools]:
    return Tools


@pytest.fixture
def fails() -> Callable[[Any, BaseException, int], Any]:
    """A function that works a given number of times and then raises."""

    def make(act: Any, error: BaseException, after: int) -> Any:
        count = iter(range(after))

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if next(count, None) is None:
                raise error
            return act(*args, **kwargs)

        return wrapped

    return make
