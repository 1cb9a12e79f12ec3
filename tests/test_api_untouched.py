"""`save` and `load` touch nothing besides: no random state, no name, no weight, no global of Keras."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.backend.common.global_state import GLOBAL_STATE_TRACKER
from keras.src.initializers.random_initializers import RandomInitializer

import tiedio
from tiedio import keras_api, slots
from tiedio.errors import ModelError

X = np.linspace(-1, 1, 24).reshape(8, 3).astype("float32")
Y = np.linspace(0, 1, 16).reshape(8, 2).astype("float32")


def model(compiled: bool = True, eager: bool = True) -> Any:
    """Something of everything that is random or has state of its own; eager, which is quicker for a step or two."""
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, kernel_initializer="orthogonal")(inputs)
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(hidden))
    outputs = keras.layers.Dense(2)(keras.layers.GaussianNoise(0.1, seed=3)(hidden))
    made = keras.Model(inputs, outputs)
    if compiled:
        made.compile("adam", keras.losses.Huber(0.3), metrics=["mae"], run_eagerly=eager)
        made.fit(X, Y, batch_size=8, verbose=0)
    return made


class Block(keras.layers.Layer):
    """A layer whose code makes what it needs, at random if it were allowed to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.first = keras.layers.Dense(3, kernel_initializer="random_normal")
        self.dropout = keras.layers.Dropout(0.5)

    def build(self, _shape: Any) -> None:
        random.random()
        np.random.rand()
        keras.random.uniform(())
        self.scale = self.add_weight(shape=(3,), initializer="random_uniform")

    def call(self, x: Any) -> Any:
        return self.dropout(self.first(x)) * self.scale


class Subclassed(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.block, self.last = Block(), keras.layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.last(self.block(x))


CUSTOM = {"Block": Block, "Subclassed": Subclassed}


def subclassed() -> Any:
    made = Subclassed()
    made.compile("sgd", "mse", run_eagerly=True)
    made.fit(X, Y, verbose=0)
    return made


MODELS = {"functional": model, "subclassed": subclassed}


@pytest.fixture(params=sorted(MODELS))
def live(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the random initializers that were asked for numbers."""
    asked: list[str] = []
    public = {c for c in vars(keras.initializers).values() if isinstance(c, type)}
    for cls in (c for c in public if issubclass(c, RandomInitializer) and "__call__" in vars(c)):

        def call(self: Any, *args: Any, original: Any = cls.__call__, **kwargs: Any) -> Any:
            asked.append(type(self).__name__)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cls, "__call__", call)
    return asked


def random_state() -> tuple[Any, ...]:
    generator = keras_api.get_global(keras_api.GLOBAL_SEED_GENERATOR)
    keras_state = None if generator is None else (id(generator), generator.state.numpy().tolist())
    return random.getstate(), str(np.random.get_state()), keras_state


def names() -> dict[str, int]:
    return dict(keras_api.get_global("object_name_uids") or {})


class Forgetful(keras.layers.Layer):
    """Its `get_config` forgets an argument, so that the default would come back."""

    def __init__(self, factor: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return self.factor * x

    def get_config(self) -> Any:
        return super().get_config()


# --- what save and load leave alone ---------------------------------------------------------------------


def test_building_draws_random_numbers_and_moves_every_state(draws: list[str]) -> None:
    before = random_state()
    subclassed()
    assert {"RandomNormal", "RandomUniform", "GlorotUniform"} <= set(draws)
    assert all(a != b for a, b in zip(random_state(), before, strict=True))


def test_saving_draws_no_random_number_and_takes_no_name(live: Any, path: Path, draws: list[str]) -> None:
    draws.clear()
    before, counters = random_state(), names()
    tiedio.save(live, path)
    assert draws == []
    assert random_state() == before
    assert names() == counters
    assert keras.layers.Masking().name == "masking"


def test_loading_draws_no_random_number(live: Any, path: Path, draws: list[str]) -> None:
    tiedio.save(live, path)
    draws.clear()
    before = random_state()
    tiedio.load(path, custom_objects=CUSTOM)
    assert draws == []
    assert random_state() == before


def test_loading_in_a_fresh_session_makes_no_global_generator(live: Any, path: Path) -> None:
    tiedio.save(live, path)
    keras.utils.clear_session(free_memory=False)
    tiedio.load(path, custom_objects=CUSTOM)
    assert keras_api.get_global(keras_api.GLOBAL_SEED_GENERATOR) is None


def test_a_failing_save_leaves_random_state_and_names_alone(path: Path) -> None:
    made = keras.Sequential([keras.Input((3,)), Forgetful(3), Block()])
    before, counters = random_state(), names()
    with pytest.raises(ModelError):
        tiedio.save(made, path)
    assert random_state() == before
    assert names() == counters


def everything(root: Any) -> Iterator[tuple[str, str, Any]]:
    """Every attribute of every object of a model, lists and graphs opened, with its place."""
    for found in slots.walk({None: root}).objects:
        for name, value in vars(found.value).items():
            yield found.path, name, value
            if isinstance(value, (list, tuple, dict)):
                yield found.path, f"{name} content", [id(item) for item in value]
        tracker = getattr(found.value, "_tracker", None)
        if tracker is not None:
            yield found.path, "locked", tracker.locked
            for name, ids in tracker.stored_ids.items():
                yield found.path, f"stored {name}", sorted(ids)


def test_saving_changes_nothing_of_the_live_model(live: Any, path: Path) -> None:
    before = list(everything(live))
    weights = [np.array(v).tobytes() for v in live.variables]
    optimizer = [np.array(v).tobytes() for v in live.optimizer.variables]
    metrics = {metric.name: float(metric.result()) for metric in live.metrics if metric.name == "loss"}
    train_function = live.train_function
    tiedio.save(live, path)
    after = list(everything(live))
    assert [(p, n) for p, n, _ in after] == [(p, n) for p, n, _ in before]
    for (place, name, old), (_, _, new) in zip(before, after, strict=True):
        plain = isinstance(old, (list, str, int, float, bool)) and type(old) is type(new)
        assert new is old or (plain and new == old), f"{place}.{name}"
    assert [np.array(v).tobytes() for v in live.variables] == weights
    assert [np.array(v).tobytes() for v in live.optimizer.variables] == optimizer
    assert {metric.name: float(metric.result()) for metric in live.metrics if metric.name == "loss"} == metrics
    assert live.train_function is train_function is not None


@pytest.mark.parametrize("verb", ["save", "load"])
def test_no_global_of_keras_is_left_changed(live: Any, path: Path, verb: str) -> None:
    tiedio.save(live, path)
    keras.random.uniform(())
    custom = dict(keras.saving.get_custom_objects())

    def look() -> dict[str, Any]:
        known = {"object_name_uids", keras_api.GLOBAL_SEED_GENERATOR} if verb == "load" else set()
        kept = vars(GLOBAL_STATE_TRACKER)
        return {name: repr(value) for name, value in kept.items() if value and name not in known}

    before = look()
    if verb == "save":
        tiedio.save(live, path)
    else:
        tiedio.load(path, custom_objects=CUSTOM)
    assert look() == before
    assert keras.saving.get_custom_objects() == custom
    assert keras.config.floatx() == "float32"


def test_training_goes_on_as_if_nothing_had_been_saved(path: Path) -> None:
    class Saver(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            tiedio.save(self.model, path)

    results = []
    for callbacks in ([], [Saver()]):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        made = model(eager=False)
        history = made.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
        results.append((history.history, [w.tobytes() for w in made.get_weights()]))
    assert results[0] == results[1]


def test_loading_takes_nothing_from_the_dict_of_custom_objects(path: Path) -> None:
    tiedio.save(subclassed(), path)
    custom = dict(CUSTOM)
    tiedio.load(path, custom_objects=custom)
    assert custom == CUSTOM


# --- where a load happens does not matter ---------------------------------------------------------------


def test_an_open_name_scope_around_save_and_load_changes_nothing(path: Path) -> None:
    made = model()
    tiedio.save(made, path)
    before = path.read_bytes()
    with keras.name_scope("outside"):
        loaded = tiedio.load(path)
        tiedio.save(made, path)
    assert path.read_bytes() == before
    assert [v.path for v in loaded.variables] == [v.path for v in made.variables]
    tiedio.save(loaded, path)
    assert path.read_bytes() == before


def test_automatic_names_that_are_taken_do_not_reach_a_load(path: Path) -> None:
    made = subclassed()
    tiedio.save(made, path)
    for _ in range(3):
        keras.layers.Dense(1), Block(), keras.layers.Dropout(0.1)
    loaded = tiedio.load(path, custom_objects=CUSTOM)
    assert [v.path for v in loaded.variables] == [v.path for v in made.variables]
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in made.layers]


@pytest.mark.parametrize("floatx", ["float16", "float64"])
def test_another_default_dtype_does_not_reach_a_load(path: Path, floatx: str) -> None:
    made = subclassed()
    tiedio.save(made, path)
    keras.config.set_floatx(floatx)
    loaded = tiedio.load(path, custom_objects=CUSTOM)
    assert keras.config.floatx() == floatx
    assert [v.dtype for v in loaded.variables] == [v.dtype for v in made.variables]
    assert np.array_equal(loaded(X), made(X))


def test_another_global_policy_does_not_reach_a_load(path: Path) -> None:
    made = subclassed()
    tiedio.save(made, path)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        loaded = tiedio.load(path, custom_objects=CUSTOM)
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy(before)
    assert loaded.block.first.compute_dtype == "float32"
    assert np.array_equal(loaded(X), made(X))
