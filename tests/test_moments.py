"""Saving while another thread trains: the file is one consistent step, or the call refuses and writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tiedio
from tests.in_threads import PATIENCE, Gate, Task, company
from tests.steps import MODES, running_as
from tiedio import keras_api, moments, pipeline, proof, values
from tiedio.container.single import open_reader
from tiedio.errors import ModelError

X, Y = np.ones((4, 4), "float32"), np.ones((4, 4), "float32")
CHANGED = "changed while it was saved"
GATES: list[Gate] = []


def wait_at_gate(x: Any) -> Any:
    if GATES:
        GATES.pop().pass_through()
    return x


@keras.saving.register_keras_serializable("test_moments")
class Waiting(keras.layers.Layer):
    """A layer in which a step waits where a test wants it to."""

    def call(self, inputs: Any) -> Any:
        waited = tf.numpy_function(wait_at_gate, [inputs], tf.float32)
        waited.set_shape(inputs.shape)
        return inputs + 0 * tf.stop_gradient(waited)

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)


@pytest.fixture(autouse=True)
def _no_gate_is_left() -> Iterator[None]:
    yield
    GATES.clear()


def waiting(**compiled: Any) -> Any:
    layers = [keras.layers.Dense(4, name="first"), keras.layers.BatchNormalization(), Waiting(), keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("adam", "mse", **compiled)
    model.train_on_batch(X, Y)
    return model


def plain() -> Any:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dropout(0.1)])
    model.compile("adam", "mse")
    model.train_on_batch(X, Y)
    return model


def state(model: Any) -> list[bytes]:
    return [one.numpy().tobytes() for one in [*model.variables, *model.optimizer.variables]]


SAVES: dict[str, Callable[[Any, Path], Any]] = {
    "save": tiedio.save,
    "unchecked": lambda model, path: tiedio.save(model, path, check=False),
    "weights": tiedio.save_weights,
    "clone": lambda model, path: tiedio.clone(model, optimizer=True),
}


def fit(model: Any) -> None:
    model.fit(X, Y, verbose=0)


def fit_and_pause(model: Any, gate: Gate) -> None:
    pausing = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: gate.pass_through())
    model.fit(X, Y, verbose=0, callbacks=[pausing])


def loop_of_its_own(model: Any) -> Any:
    """A step that somebody wrote: compiled, with an optimizer that the model does not know."""
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(X, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)

    return step


# --- a step that is going on -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_nothing_is_saved_in_the_middle_of_a_step(mode: str, tmp_path: Path) -> None:
    model, gate = waiting(**MODES[mode]), Gate()
    GATES.append(gate)
    with gate.held(lambda: fit(model)):
        for save in SAVES.values():
            with pytest.raises(ModelError, match=CHANGED) as caught:
                save(model, tmp_path / "m.safetensors")
            assert "in the middle of a step" in str(caught.value)
        assert list(tmp_path.iterdir()) == []
    for save in SAVES.values():
        save(model, tmp_path / "m.safetensors")


def test_nothing_is_saved_in_the_middle_of_a_step_of_a_loop_of_ones_own(tmp_path: Path) -> None:
    model, gate = waiting(), Gate()
    step = loop_of_its_own(model)
    step()
    GATES.append(gate)
    with gate.held(step), pytest.raises(ModelError, match=CHANGED):
        tiedio.save(model, tmp_path / "m.safetensors")


@pytest.mark.parametrize("optimizer", ["adam", keras.optimizers.SGD(0.5, momentum=0.5)])
def test_nothing_is_saved_while_an_optimizer_applies_gradients(
    optimizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, gate = plain(), Gate()
    own = keras.optimizers.get(optimizer)
    own.build(model.trainable_variables)
    update = type(own).update_step

    def slowly(self: Any, *args: Any) -> None:
        update(self, *args)
        gate.pass_through()

    monkeypatch.setattr(type(own), "update_step", slowly)
    gradients = [tf.ones(one.shape) for one in model.trainable_variables]
    with gate.held(lambda: own.apply(gradients)), pytest.raises(ModelError, match=CHANGED):
        tiedio.save_weights(model, tmp_path / "m.safetensors")


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_model_that_another_thread_only_uses_is_saved(mode: str, tmp_path: Path) -> None:
    model = waiting(**MODES[mode])
    works: list[Callable[[], Any]] = [
        lambda: model.predict(X, verbose=0),
        lambda: model.evaluate(X, Y, verbose=0),
        lambda: tf.function(model)(X),
    ]
    for work in works:
        gate = Gate()
        GATES.append(gate)
        with gate.held(work):
            for n, save in enumerate(SAVES.values()):
                save(model, tmp_path / f"{n}.safetensors")
        assert state(tiedio.load(tmp_path / "0.safetensors")) == state(model)


def test_a_model_is_saved_while_another_one_is_in_the_middle_of_a_step(tmp_path: Path) -> None:
    trained, model, gate = waiting(), plain(), Gate()
    GATES.append(gate)
    with gate.held(lambda: fit(trained)):
        tiedio.save(model, tmp_path / "m.safetensors")
        with pytest.raises(ModelError, match=CHANGED):
            tiedio.save({"one": model, "two": trained}, tmp_path / "both.safetensors")
    assert state(tiedio.load(tmp_path / "m.safetensors")) == state(model)


# --- a step between two looks ------------------------------------------------------------------------


def stepping_at(
    name: str, module: Any, model: Any, monkeypatch: pytest.MonkeyPatch, after: int = 1, times: int = 1
) -> None:
    """Lets another thread train a step within one of the calls of a function."""
    function, calls = vars(module)[name], [0]

    def stepping(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        calls[0] += 1
        if after <= calls[0] < after + times:
            Task(lambda: model.train_on_batch(X, Y)).join_it()
        return result

    monkeypatch.setattr(module, name, stepping)


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("after", [1, 3])
def test_a_step_while_values_are_taken_is_seen(
    after: int, save: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = plain()
    # They are looked at once before, when the model has not been described yet.
    stepping_at("hold", values, model, monkeypatch, len(model.variables) + after)
    with company(), pytest.raises(ModelError, match=CHANGED):
        SAVES[save](model, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("save", "where"), [("unchecked", "tensors_of"), ("weights", "tensors_of")])
def test_a_step_before_the_bytes_are_written_is_seen(
    save: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = plain()
    stepping_at(where, values, model, monkeypatch)
    with company(), pytest.raises(ModelError, match=CHANGED):
        SAVES[save](model, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("save", SAVES)
def test_training_that_goes_on_while_the_model_is_described_is_refused(
    save: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, other, gate = plain(), plain(), Gate()
    stepping_at("describe", vars(pipeline)["hooks"], model, monkeypatch)
    with gate.held(lambda: fit_and_pause(other, gate)), pytest.raises(ModelError, match=CHANGED):
        SAVES[save](model, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_training_that_goes_on_during_the_check_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other, gate = plain(), plain(), Gate()
    stepping_at("prove", proof, model, monkeypatch)
    pausing = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: gate.pass_through())
    with (
        gate.held(lambda: other.fit(X, Y, verbose=0, callbacks=[pausing])),
        pytest.raises(ModelError, match=CHANGED) as caught,
    ):
        tiedio.save(model, tmp_path / "m.safetensors")
    assert "another value than at the beginning" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_training_that_goes_on_when_the_file_is_written_anew_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = plain()
    stepping_at("prove", proof, model, monkeypatch)
    stepping_at("tensors_of", values, model, monkeypatch, after=2)
    with company(), pytest.raises(ModelError, match=CHANGED):
        tiedio.save(model, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("save", SAVES)
def test_an_optimizer_that_is_built_meanwhile_is_refused(
    save: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    model.compile("adam", "mse")
    # The last thing before values are taken.
    stepping_at("describe", vars(pipeline)["hooks"], model, monkeypatch)
    with company(), pytest.raises(ModelError, match=CHANGED) as caught:
        SAVES[save](model, tmp_path / "m.safetensors")
    assert "built meanwhile" in str(caught.value)


def test_what_was_there_stays_when_a_save_is_refused(tmp_path: Path) -> None:
    model, gate, path = waiting(), Gate(), tmp_path / "m.safetensors"
    tiedio.save(model, path)
    before = path.read_bytes()
    GATES.append(gate)
    with gate.held(lambda: fit(model)), pytest.raises(ModelError):
        tiedio.save(model, path)
    assert path.read_bytes() == before


# --- between two steps -------------------------------------------------------------------------------


class Saving(keras.callbacks.Callback):
    """Saves after every batch, and notes the values of then."""

    def __init__(self, save: Callable[[Any, Path], Any], folder: Path) -> None:
        super().__init__()
        self.save, self.folder = save, folder
        self.states: dict[Path, list[bytes]] = {}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        path = self.folder / f"{len(self.states)}.safetensors"
        self.states[path] = state(self.model)
        self.save(self.model, path)


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize(
    "save",
    [tiedio.save, lambda model, path: Task(lambda: tiedio.save(model, path)).join_it()],
    ids=["callback", "thread that the callback waits for"],
)
def test_a_callback_saves_the_step_that_has_just_been_made(save: Any, mode: str, tmp_path: Path) -> None:
    model = waiting(**MODES[mode])
    saving = Saving(save, tmp_path)
    with company():
        model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=[saving])
    assert len(saving.states) == 4
    for path, expected in saving.states.items():
        assert state(tiedio.load(path)) == expected


def test_a_clone_that_a_callback_made_is_saved_while_training_goes_on(tmp_path: Path) -> None:
    tasks: list[Task] = []

    def save_later(model: Any, path: Path) -> None:
        clone = tiedio.clone(model, optimizer=True)
        tasks.append(Task(lambda: tiedio.save(clone, path)))

    model, saving = plain(), Saving(save_later, tmp_path)
    model.fit(X, Y, batch_size=1, verbose=0, callbacks=[saving])
    for task in tasks:
        task.join_it()
    for path, expected in saving.states.items():
        assert state(tiedio.load(path)) == expected


@keras.saving.register_keras_serializable("test_moments")
class Counting(keras.Model):
    """A model whose weights are all minus the number of steps: what is torn is seen."""

    def __init__(self, weights: int = 40, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = weights
        self.all = [self.add_weight(shape=(64, 64), initializer="zeros", name=f"w{n}") for n in range(weights)]

    def call(self, inputs: Any) -> Any:
        return keras.ops.sum(inputs) * 0 + sum(keras.ops.sum(one) for one in self.all)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.number}


@keras.saving.register_keras_serializable("test_moments")
def itself(expected: Any, found: Any) -> Any:
    return found


@contextmanager
def training(model: Any) -> Iterator[None]:
    """Inside the block another thread trains the model, step after step."""
    first, ends = threading.Event(), threading.Event()

    def train() -> None:
        while not ends.is_set():
            model.train_on_batch(X, X)
            first.set()

    task = Task(train)
    try:
        assert first.wait(PATIENCE)
        yield
    finally:
        ends.set()
        task.join_it()


def saved_or_refused(save: str, model: Any, path: Path) -> bool:
    try:
        SAVES[save](model, path)
    except ModelError as error:
        if CHANGED not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("save", ["save", "unchecked", "weights"])
@pytest.mark.parametrize("mode", ["eager", "graph", "jit"])
def test_no_file_is_ever_torn_while_another_thread_trains(mode: str, save: str, tmp_path: Path) -> None:
    with running_as(mode) as compiled:
        model, path = Counting(), tmp_path / "m.safetensors"
        model(X)
        model.compile(keras.optimizers.SGD(1.0), itself, **compiled)
        with training(model):
            for _ in range(10):
                if saved_or_refused(save, model, path):
                    with open_reader(str(path)) as reader:
                        weights = [reader.bytes_of(one) for one in reader.header.entries if one.startswith("all")]
                        count = int(reader.bytes_of("@optimizer/iterations").view("int64")[0])
                    assert {float(one) for raw in weights for one in np.unique(raw.view("float32"))} == {-float(count)}


# --- what all of this stands on ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_held_value_stays_what_it_is_and_an_update_is_seen(mode: str) -> None:
    with running_as(mode) as compiled:
        inputs = keras.Input((4,), dtype="int32")
        model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Embedding(9, 3)(inputs)))
        model.compile(keras.optimizers.Adam(0.1), "mse", **compiled)
        data = np.ones((4, 4), "int32"), np.ones((4, 4, 2), "float32")
        for _ in range(3):
            model.train_on_batch(*data)
            variables = {one.path: one for one in [*model.trainable_variables, *model.optimizer.variables]}
            held = {name: values.hold(one) for name, one in variables.items()}
            before = {name: np.array(one.numpy()) for name, one in held.items()}
            assert moments.first_moved(variables, held) is None
            model.train_on_batch(*data)
            assert all(np.array_equal(held[name].numpy(), before[name]) for name in held)
            moved = [name for name, one in variables.items() if values.has_moved(one, held[name])]
            assert [name for name in held if name not in moved] == ["adam/learning_rate"]


@pytest.mark.parametrize("way", ["assign_add", "scatter_update", "assign"])
def test_an_update_in_place_leaves_a_held_value_alone(way: str) -> None:
    variable = keras.Variable(np.zeros((4, 4), "float32"))
    raw = keras_api.raw_value(variable)
    for _ in range(2):
        held = values.hold(variable)
        before = np.array(held.numpy())
        if way == "scatter_update":
            raw.scatter_update(tf.IndexedSlices(raw[:1] + 1, [0]))
        else:
            getattr(raw, way)(raw + 1)
        assert np.array_equal(held.numpy(), before)
        assert values.has_moved(variable, held)


def test_nobody_else_is_seen_where_nobody_is() -> None:
    model = plain()
    assert not keras_api.is_changed_elsewhere(model.variables)
    gate = Gate()
    with gate.held(gate.pass_through):
        assert not keras_api.is_alone()
        assert not keras_api.others_compute()
