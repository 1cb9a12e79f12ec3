"""Loading, saving and looking in several threads at once: each gives what it gives alone, and leaves nothing behind."""

from __future__ import annotations

import functools
import random
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tests.in_threads import Gate, Task, at_once, company
from tiedio import api, proof, session
from tiedio.container.single import open_reader

GATES: dict[str, Gate] = {}
SEEN: list[Any] = []


@keras.saving.register_keras_serializable("test_threads")
class Asking(keras.layers.Layer):
    """A layer whose constructor notes Keras's settings, and waits where a test wants it to."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        SEEN.append((threading.current_thread(), keras.config.floatx()))
        if self.name in GATES:
            GATES.pop(self.name).pass_through()

    def call(self, inputs: Any) -> Any:
        return inputs


@keras.saving.register_keras_serializable("test_threads")
class Drawing(keras.layers.Dense):
    """A layer whose constructor draws random numbers."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)
        random.random()
        np.random.rand()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    filters, settings = list(warnings.filters), (keras.config.floatx(), keras.config.image_data_format())
    policy = keras.config.dtype_policy().name
    yield
    GATES.clear()
    SEEN.clear()
    assert list(warnings.filters) == filters
    assert (keras.config.floatx(), keras.config.image_data_format()) == settings
    assert keras.config.dtype_policy().name == policy


def everything_random() -> Any:
    return random.getstate(), [np.asarray(part).tolist() for part in tuple(np.random.get_state())[1:]]


def tied() -> Any:
    """A trained autoencoder that is tied, with what draws random numbers."""
    first, second = keras.layers.Dense(6, name="first"), keras.layers.Dense(4, name="second")
    layers = [keras.Input((4,)), first, keras.layers.Dropout(0.5), keras.layers.BatchNormalization(), second]
    model = keras.Sequential(layers)
    tiedio.tie(second, first, weights=["kernel"], view=tiedio.transpose(), models=model)
    model.compile(keras.optimizers.Adam(0.1), "mse", metrics=["mae"])
    model.fit(np.ones((4, 4)), np.ones((4, 4)), verbose=0)
    return model


def of_classes() -> Any:
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Asking(name="asking")(shared(shared(keras.layers.GaussianNoise(0.1)(inputs)))))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 4)), verbose=0)
    return model


def drawing() -> Any:
    return keras.Sequential([keras.Input((4,)), Drawing(4)])


def with_lambda() -> Any:
    layers = [keras.Input((4,)), keras.layers.Dense(4), keras.layers.Lambda(lambda x: x * 2)]
    model = keras.Sequential(layers)
    model.compile("rmsprop", "mse")
    return model


def values_of(model: Any) -> list[bytes]:
    return [one.numpy().tobytes() for one in [*model.variables, *model.optimizer.variables]]


def a_step_later(model: Any) -> list[bytes]:
    model.train_on_batch(np.full((4, 4), 0.5), np.ones((4, 4)))
    return values_of(model)


def ties_of(model: Any) -> Any:
    return [tie.slots for tie in tiedio.find_ties(model)]


def load(path: Path) -> Any:
    return tiedio.load(path, safe_mode=False)


@pytest.fixture
def saved(tmp_path: Path) -> dict[Path, Any]:
    """Files, and the model that was saved in each."""
    models = {tmp_path / f"{make.__name__}.safetensors": make() for make in (tied, of_classes, with_lambda)}
    for path, model in models.items():
        tiedio.save(model, path)
    return models


# --- loading -----------------------------------------------------------------------------------------


def test_files_that_are_loaded_at_once_come_back_as_when_loaded_alone(saved: dict[Path, Any]) -> None:
    paths = [*saved, *saved]
    number = int(keras.layers.Dense(1).name.rpartition("_")[2])
    before = everything_random()
    loaded = at_once([functools.partial(load, path) for path in paths])
    assert everything_random() == before
    assert keras.layers.Dense(1).name == f"dense_{number + 1}"
    for n, path in enumerate(saved):
        model, pair = load(path), (loaded[n], loaded[n + len(saved)])
        assert all(ties_of(one) == ties_of(saved[path]) for one in (model, *pair))
        assert all(values_of(one) == values_of(saved[path]) for one in (model, *pair))
        step = a_step_later(model)
        assert all(a_step_later(one) == step for one in pair)
    held = [id(one) for model in loaded for one in model.variables]
    assert len(set(held)) == len(held), "two loaded models share a variable"


def test_everything_may_be_done_at_once_beside_a_training_that_goes_on_as_alone(
    saved: dict[Path, Any], tmp_path: Path
) -> None:
    class Noise(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 30

        def __getitem__(self, index: int) -> Any:
            return np.random.rand(4, 4) + random.random(), np.ones((4, 4))

    def train() -> Any:
        keras.utils.set_random_seed(5)
        model = tied()
        model.fit(Noise(), epochs=2, verbose=0)
        return values_of(model), everything_random()

    alone = train()
    started, path = Gate(), next(iter(saved))
    models = {name: tied() for name in ("saved", "cloned", "filled", "found")}
    expected = {name: values_of(model) for name, model in models.items()}

    def again(work: Callable[[], Any]) -> Any:
        started.open.wait(60)
        return [work() for _ in range(2)]

    works = [
        lambda: again(lambda: [load(one) for one in saved if "of_classes" not in one.name]),
        lambda: again(lambda: tiedio.save(models["saved"], tmp_path / "one.safetensors")),
        lambda: again(lambda: tiedio.save(models["saved"], tmp_path / "two.safetensors")),
        lambda: again(lambda: tiedio.save(models["found"], tmp_path / "other.safetensors")),
        lambda: again(lambda: tiedio.clone(models["cloned"], optimizer=True)),
        lambda: again(lambda: tiedio.load_weights(models["filled"], path)),
        lambda: again(lambda: tiedio.find_ties(models["found"])),
    ]
    tasks = [Task(work) for work in works]
    started.open.set()
    assert train() == alone
    clones = [task.join_it() for task in tasks][4]
    assert [values_of(one) for one in clones] == [expected["cloned"]] * 2
    assert values_of(models["filled"]) == values_of(saved[path])
    for file, name in {"one": "saved", "two": "saved", "other": "found"}.items():
        assert values_of(load(tmp_path / f"{file}.safetensors")) == expected[name]
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()


def test_a_file_that_several_threads_save_to_is_one_of_theirs(tmp_path: Path) -> None:
    models = [tied() for _ in range(3)]
    path = tmp_path / "m.safetensors"
    at_once([functools.partial(tiedio.save, model, path) for model in models])
    tiedio.verify(path)
    assert values_of(load(path)) in [values_of(model) for model in models]
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


# --- warnings ----------------------------------------------------------------------------------------


def test_blocks_that_do_not_nest_leave_no_filter_behind() -> None:
    before, first, second = list(warnings.filters), ExitStack(), ExitStack()
    for stack in (first, second):
        Task(functools.partial(stack.enter_context, session.without_old_warnings())).join_it()
    first.close()
    assert len(warnings.filters) == len(before) + 1
    second.close()
    assert list(warnings.filters) == before


def test_a_warning_is_kept_back_in_the_thread_of_the_block_alone() -> None:
    def warn() -> None:
        warnings.warn_explicit("old", UserWarning, "layer.py", 1, module="keras.layers")

    with session.without_old_warnings():
        warn()
        with pytest.raises(UserWarning, match="old"):
            Task(warn).join_it()
        with pytest.raises(UserWarning, match="other"):
            warnings.warn_explicit("other", UserWarning, "mine.py", 1, module="mine")
    with pytest.raises(UserWarning, match="old"):
        warn()


def test_a_filter_does_not_stay_where_another_block_of_filters_ends_first() -> None:
    outer, block = warnings.catch_warnings(), session.without_warnings()
    before = list(warnings.filters)
    with ExitStack() as late:
        with outer:
            late.enter_context(block)
        late.close()
        assert list(warnings.filters) == before
    inner = ExitStack()
    with session.without_warnings():
        inner.enter_context(warnings.catch_warnings())
    inner.close()
    assert list(warnings.filters) == before


def test_a_load_gives_a_warning_of_another_thread_back_to_it(tmp_path: Path) -> None:
    gate = Gate()
    tiedio.save(keras.Sequential([keras.Input((4,)), Asking(name="asking")]), tmp_path / "m.safetensors")
    GATES["asking"] = gate
    with (
        gate.held(lambda: tiedio.load(tmp_path / "m.safetensors")),
        pytest.raises(UserWarning, match="mine"),
    ):
        warnings.warn_explicit("mine", UserWarning, "layer.py", 1, module="keras.layers")


# --- settings ----------------------------------------------------------------------------------------


def saved_under(floatx: str, path: Path) -> Path:
    keras.config.set_floatx(floatx)
    layers = [Asking(dtype="float32", name=name) for name in (floatx, "other")]
    tiedio.save(keras.Sequential([keras.Input((4,), dtype="float32"), *layers]), path)
    keras.config.set_floatx("float32")
    SEEN.clear()
    return path


@pytest.mark.parametrize("order", [("float16", "float32"), ("float32", "float16")])
def test_a_load_does_not_see_the_settings_that_the_load_of_another_file_needs(
    order: tuple[str, str], tmp_path: Path
) -> None:
    first, second = (saved_under(name, tmp_path / f"{name}.safetensors") for name in order)
    gates = Gate(), Gate()
    GATES.update(zip(order, gates, strict=True))
    with gates[0].held(lambda: tiedio.load(first)) as one:
        other = Task(lambda: tiedio.load(second))
        while not (gates[1].reached.is_set() or other.stands_in("wait_for")):
            other.join(0.001)
    gates[1].open.set()
    other.join_it()
    assert [seen for thread, seen in SEEN if thread is one] == [order[0]] * 2
    assert [seen for thread, seen in SEEN if thread is other] == [order[1]] * 2


def test_a_saved_file_notes_the_users_settings_and_not_those_of_a_load_beside_it(tmp_path: Path) -> None:
    half, gate = saved_under("float16", tmp_path / "half.safetensors"), Gate()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    GATES["float16"] = gate
    with gate.held(lambda: tiedio.load(half)):
        other = Task(lambda: tiedio.save(model, tmp_path / "m.safetensors"))
        other.wait_until_it_stands_in("wait_for")
    other.join_it()
    assert tiedio.inspect(tmp_path / "m.safetensors").versions["floatx"] == "float32"


def test_a_load_inside_a_load_does_not_wait_for_it() -> None:
    with session.settings("float16", "channels_first"):
        with session.settings("float32", "channels_last"):
            assert keras.config.floatx() == "float32"
        assert session.versions()["floatx"] == "float16"


# --- random state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tied, of_classes])
def test_what_another_thread_draws_during_a_load_is_not_drawn_again(
    make: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, gate = tmp_path / "m.safetensors", Gate()
    tiedio.save(make(), path)
    fill = vars(api)["fill"]

    def wait(*args: Any, **kwargs: Any) -> None:
        gate.pass_through()
        fill(*args, **kwargs)

    monkeypatch.setattr(api, "fill", wait)
    with gate.held(lambda: tiedio.load(path)):
        drawn = [random.random(), np.random.rand()]
        after = everything_random()
    assert everything_random() == after
    assert [random.random(), np.random.rand()] != drawn


def test_what_a_generator_of_the_backends_threads_draws_is_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are seen while they run Python only: nothing is put back where all code is Keras's."""
    model, path = tied(), tmp_path / "m.safetensors"
    drawn: list[Any] = []

    def draw(function: Any) -> Any:
        def drawing(*args: Any, **kwargs: Any) -> Any:
            random.random()
            np.random.rand()
            drawn.append(everything_random())
            return function(*args, **kwargs)

        return drawing

    monkeypatch.setattr(api, "fill", draw(vars(api)["fill"]))
    monkeypatch.setattr(proof, "prove", draw(vars(proof)["prove"]))
    for work in (lambda: tiedio.save(model, path), lambda: tiedio.load(path)):
        work()
        assert everything_random() == drawn[-1]
    assert len(drawn) == 2


@pytest.mark.parametrize("around", [nullcontext, company], ids=["alone", "beside a thread that waits"])
def test_what_constructors_draw_is_put_back_where_no_other_thread_runs(
    around: Callable[[], Any], tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    model = drawing()
    before = everything_random()
    with around():
        tiedio.save(model, path)
        tiedio.load(path)
        tiedio.clone(model)
    assert everything_random() == before


def test_what_constructors_draw_stays_drawn_where_another_thread_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model, prove, turns = tmp_path / "m.safetensors", drawing(), vars(proof)["rebuild"], [Gate(), Gate()]

    def work() -> None:
        for gate in turns:
            gate.pass_through()  # at the same call again

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        turns[0].open.set()
        turns[1].wait()
        return prove(*args, **kwargs)

    monkeypatch.setattr(proof, "rebuild", meanwhile)
    before = everything_random()
    task = Task(work)
    turns[0].wait()
    tiedio.save(model, path)
    assert everything_random() != before
    turns[1].open.set()
    task.join_it()


def test_seeds_that_keras_draws_are_the_same_whether_other_threads_run_or_not(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    tiedio.save(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), path)
    random.seed(3)
    expected = random.randint(1, int(1e9))
    for _ in range(2):
        random.seed(3)
        with session.untouched_randomness(foreign=False):
            assert keras.random.SeedGenerator().state.numpy()[0] == expected
            assert Task(keras.random.SeedGenerator).join_it().state.numpy()[0] == expected
        assert random.randint(1, int(1e9)) != expected


def test_mixing_images_draws_elsewhere_as_well() -> None:
    layer = keras.layers.AugMix(seed=1)
    before = everything_random()
    with session.untouched_randomness(foreign=False):
        layer(np.ones((2, 4, 4, 3), "float32"), training=True)
    assert everything_random() == before


@pytest.mark.parametrize(
    ("make", "foreign"), [(tied, False), (of_classes, True), (with_lambda, True)], ids=["keras", "classes", "lambda"]
)
def test_code_outside_keras_is_found_in_a_file(make: Callable[[], Any], foreign: bool, tmp_path: Path) -> None:
    tiedio.save(make(), tmp_path / "m.safetensors")
    with open_reader(str(tmp_path / "m.safetensors")) as reader:
        assert session.runs_foreign_code(reader.header.metadata.values()) is foreign


def test_threads_pause_the_collector_once(saved: dict[Path, Any]) -> None:
    import gc

    assert gc.isenabled()
    at_once([functools.partial(load, path) for path in [*saved] * 2])
    assert gc.isenabled()
    assert threading.active_count() < 20
