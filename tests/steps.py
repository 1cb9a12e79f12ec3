"""Models that are trained beside their references by hand (tests/by_hand.py), and how the two are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import config as tf_config

from tests.by_hand import Adam, Gradients, Reference, Sgd, Use, added_up

MODES: dict[str, dict[str, Any]] = {
    "eager": {"run_eagerly": True},
    "graph": {"jit_compile": False},
    "jit": {"jit_compile": True},
}
# Sums of float32 are rounded in an order that XLA and NumPy choose; what is near zero keeps fewer digits.
TOLERANCE: dict[str, dict[str, Any]] = {
    "float32": {"rtol": 1e-5, "atol": 1e-6},
    "float64": {"rtol": 1e-12, "atol": 1e-14},
}
BATCH = 4
CROSS_ENTROPY = "SparseCategoricalCrossentropy"


@contextmanager
def running_as(name: str) -> Iterator[dict[str, Any]]:
    """Arguments of `compile` for a mode, and what the mode needs around it; then computing is in float32 again."""
    found = MODES[name]
    if found.get("jit_compile"):
        tf_config.disable_op_determinism()  # with it, as conftest.py has it, Keras compiles nothing with XLA
    try:
        yield found
    finally:
        tf.config.experimental.enable_op_determinism()
        compute_in("float32")


def compute_in(dtype: str) -> None:
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(keras.config.floatx())


def at(model: Any, path: str) -> Any:
    """What stands at a path of names of layers and attributes."""
    found = model
    for name in path.split("/"):
        inside = {layer.name: layer for layer in getattr(found, "layers", ())}
        found = inside[name] if name in inside else getattr(found, name)
    return found


def array(variable: Any) -> Any:
    return np.asarray(variable.value if isinstance(variable, keras.Variable) else variable).astype("float64")


@dataclass(frozen=True)
class System:
    """A model, the ties that are made in it, and how its gradients are found by hand.

    Args:
        build: makes the model before it is tied, and data.
        tie: makes the ties.
        network: gradients of the untied model, place by place, or the tied one's if `uses` is `None`.
        uses: which places use the parameter of another one.
        loss: as `compile` takes it.
    """

    build: Callable[[], tuple[Any, Any, Any]]
    tie: Callable[[Any], None]
    network: Gradients
    uses: Mapping[str, Use]
    loss: Any = "mse"
    is_taped: bool = False

    @property
    def tied(self) -> Gradients:
        return self.network if self.is_taped else added_up(self.network, self.uses)


# --- comparing --------------------------------------------------------------------------------------------


def compiled(
    model: Any,
    system: System,
    optimizer: Sgd | Adam,
    mode: Mapping[str, Any],
    wrap: Callable[[Any], Any] = lambda optimizer: optimizer,
) -> None:
    if isinstance(optimizer, Sgd):
        live = keras.optimizers.SGD(optimizer.rate)
    else:
        live = keras.optimizers.Adam(optimizer.rate, optimizer.beta_1, optimizer.beta_2, optimizer.epsilon)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if system.loss == CROSS_ENTROPY else system.loss
    model.compile(wrap(live), loss, **mode)


def reference_of(model: Any, system: System, optimizer: Sgd | Adam) -> Reference:
    """The same model by hand, with the values that the tied one has now."""
    parameters = {path: array(at(model, path)) for path in places(model) if path not in system.uses}
    return Reference(parameters, system.tied, optimizer)


def places(model: Any, path: str = "") -> Iterator[str]:
    """Paths of the weights, by the names that layers give them."""
    for layer in model.layers:
        here = f"{path}{layer.name}"
        if isinstance(layer, keras.Model):
            yield from places(layer, f"{here}/")
            continue
        if hasattr(layer, "cell"):
            here += "/cell"
        for name in ("kernel", "recurrent_kernel", "embeddings", "bias"):
            if hasattr(at(model, here[len(path) :]), name):
                yield f"{here}/{name}"


def assert_equal(model: Any, reference: Reference, uses: Mapping[str, Use], dtype: str) -> None:
    """Values at every place, and the optimizer's state of every parameter, are those by hand; ties hold."""
    near = TOLERANCE[dtype]
    for path, value in reference.parameters.items():
        np.testing.assert_allclose(array(at(model, path)), value, **near, err_msg=path)
    for path, use in uses.items():
        source = at(model, use.parameter)
        wanted = use.take(array(source))
        np.testing.assert_array_equal(array(at(model, path)), wanted, err_msg=path)
        assert at(model, path) is source or getattr(at(model, path), "source", None) is source
    assert len(model.weights) == len(reference.parameters)
    assert int(model.optimizer.iterations) == reference.optimizer.steps
    if isinstance(reference.optimizer, Adam):
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        trained = {id(v): n for n, v in enumerate(optimizer._trainable_variables)}
        assert len(trained) == len(reference.optimizer.state)
        for path, (mean, square) in reference.optimizer.state.items():
            number = trained[id(at(model, path))]
            np.testing.assert_allclose(array(optimizer._momentums[number]), mean, **near, err_msg=path)
            np.testing.assert_allclose(array(optimizer._velocities[number]), square, **near, err_msg=path)


def train_both(model: Any, reference: Reference, x: Any, y: Any) -> None:
    """Two steps each; the losses agree."""
    history = model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    # Keras's metric of the loss is float32 in any case.
    np.testing.assert_allclose(history.history["loss"][0], reference.fit(x, y, BATCH), **TOLERANCE["float32"])
