"""A meter is told of what is made, before it is made, in its own thread and in its block only."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import keras
import pytest

import tiedio
from tiedio import keras_api, values
from tiedio.errors import LimitError
from tiedio.keras_api import metering
from tiedio.limits import Limits
from tiedio.structure.meter import Meter


class Counts:
    """Counts, and never refuses."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.variables: list[tuple[tuple[int, ...], str, bool]] = []

    def operation(self) -> None:
        self.seen["operation"] += 1

    def tensor(self) -> None:
        self.seen["tensor"] += 1

    def use(self) -> None:
        self.seen["use"] += 1

    def variable(self, shape: Sequence[int], dtype: str, waits: bool) -> None:
        self.variables.append((tuple(shape), dtype, waits))


def test_every_layer_tensor_and_variable_is_told() -> None:
    counts = Counts()
    with keras_api.metered(counts), keras_api.without_values(values.zeros):
        inputs = keras.Input((3,))
        keras.layers.Dense(2, kernel_initializer="ones")(inputs)
        keras.ops.add(inputs, 1.0)
    assert counts.seen["operation"] == 3
    assert counts.seen["tensor"] >= 3
    assert counts.seen["use"] == 1  # the layer's call; an operation on a symbolic tensor is made, and not called
    assert counts.variables == [((3, 2), "float32", True), ((2,), "float32", True)]


@pytest.mark.parametrize(
    ("initializer", "waits"),
    [
        ("glorot_uniform", True),
        ("zeros", True),
        ("ones", True),
        ("identity", True),
        (keras.initializers.Constant(3.0), True),
        (lambda shape, dtype: keras.ops.ones(shape, dtype), False),
        (type("Own", (keras.initializers.Ones,), {})(), False),
    ],
)
def test_what_always_gives_the_same_runs_only_when_somebody_asks(initializer: object, waits: bool) -> None:
    counts = Counts()
    with keras_api.metered(counts), keras_api.without_values(values.zeros):
        variable = keras.Variable(keras.initializers.get(initializer), shape=(2, 2), dtype="float32")
    assert counts.variables == [((2, 2), "float32", waits)]
    assert (keras_api.deferral_of(variable) is not None) is waits
    if initializer not in ("glorot_uniform", "zeros"):
        expected = keras.initializers.get(initializer)((2, 2), dtype="float32")
        assert variable.numpy().tolist() == keras.ops.convert_to_numpy(expected).tolist()


def test_outside_the_block_and_in_other_threads_nothing_is_told() -> None:
    counts = Counts()
    with keras_api.metered(counts):
        thread = threading.Thread(target=lambda: keras.layers.Dense(2))
        thread.start()
        thread.join()
    keras.layers.Dense(2)
    assert counts.seen == {}
    assert keras_api.Operation.__init__ is metering._originals["operation"]
    assert keras_api.KerasTensor.__init__ is metering._originals["tensor"]
    assert keras_api.Operation.__call__ is metering._originals["call"]
    assert keras_api.Layer.get_config is metering._originals["config"]


def test_blocks_inside_each_other_and_no_meter_at_all() -> None:
    outer, inner = Counts(), Counts()
    with keras_api.metered(outer):
        with keras_api.metered(inner), keras_api.metered(None):
            keras.layers.Dense(2)
        keras.layers.Dense(2)
    assert (outer.seen["operation"], inner.seen["operation"]) == (1, 1)


def test_keras_asks_for_the_very_parameters_of_an_operation() -> None:
    """Read in Keras 3.15.1: `Operation.__new__` calls `getfullargspec`, which sees through no wrapper."""
    original, counted = (inspect.getfullargspec(f) for f in (metering._originals["operation"], metering._operation))
    assert original == counted


def meter(**limits: float) -> Meter:
    return Meter([(2, 3)], 1, Limits(**limits).for_file(1_000), "the file")


def test_a_variable_that_the_file_does_not_store_counts_in_bytes() -> None:
    counts = meter(unlisted=40)
    for _ in range(1_000):
        counts.variable((2, 3), "float32", waits=True)
    counts.variable((10,), "float32", waits=True)
    with pytest.raises(LimitError, match=r"at most 40, found 42.*Limits\(unlisted="):
        counts.variable((1,), "bfloat16", waits=True)
    assert counts.refusal is not None


def test_values_that_are_drawn_to_be_thrown_away_count_in_bytes() -> None:
    counts = meter(memory=50)
    counts.variable((2, 3), "float64", waits=False)
    with pytest.raises(LimitError, match=r"limits=tiedio\.Limits\(memory=\.\.\.\)"):
        counts.variable((2, 3), "float64", waits=False)


def test_a_refusal_that_a_class_keeps_to_itself_is_told_all_the_same(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("metering")
    class Swallows(keras.layers.Layer):
        many = 0

        def build(self, shape: object) -> None:
            self.kernel = self.add_weight(shape=(2,))
            try:
                for _ in range(self.many):
                    keras.layers.Identity()
            except tiedio.TiedioError:
                raise ValueError("something else") from None

    model = keras.Sequential([keras.Input((2,)), Swallows()])
    tiedio.save(model, tmp_path / "model.safetensors")
    tiedio.load(tmp_path / "model.safetensors")
    Swallows.many = 10_000
    with pytest.raises(LimitError, match="far more layers than the file lists"):
        tiedio.load(tmp_path / "model.safetensors")
    assert tiedio.load(tmp_path / "model.safetensors", limits=tiedio.Limits.off()).built
