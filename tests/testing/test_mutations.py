"""Mutations: whatever a load could get wrong, `assert_round_trip` names the part and the place.

Each is done to what the real `tiedio.load` gives, or to the file, for a model made by hand and one from a recipe; each
is shown to be a real change by a look at the model that does not use the oracle.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio.testing import assert_round_trip
from tiedio.testing.strategies import Chain, Compile, Layer, Recipe, Root, Tie, View, build
from tiedio.testing.strategies_recipe import Call, Freeze, Graph, Part
from tiedio.testing.zoo_base import floats, put, share, untie

layers = keras.layers
X, Y = floats(5, 4), floats(5, 4, seed=1)


def by_hand() -> tuple[Any, Any, Any]:
    """One of everything: a tie, a view, equal values, a layer twice, a seed, decay, a schedule, loss weights."""
    inputs = keras.Input((4,), name="inputs")
    names = ("one", "two", "turned", "like_one", "free")
    one, two, turned, like_one, free = (
        layers.Dense(4, activation="tanh", kernel_regularizer="l2", bias_constraint="non_neg", name=name)
        for name in names
    )
    drop = layers.Dropout(0.5, seed=3, name="drop")
    x = turned(two(drop(layers.BatchNormalization(name="norm")(one(inputs)))))
    outputs = {"a": free(like_one(x)), "b": free(x)}
    model = keras.Model(inputs, outputs, name="model")
    share(two, "_kernel", one)
    tiedio.tie(turned, one, weights=["kernel"], view=tiedio.transpose(), models=model)
    like_one.kernel.assign(one.kernel)
    targets = {"a": Y, "b": X}
    model.compile(
        keras.optimizers.RMSprop(0.01, momentum=0.9, centered=True),
        loss={"a": "mse", "b": "mae"}, loss_weights={"a": 1.0, "b": 0.5}, run_eagerly=True,
    )  # fmt: skip
    for _ in range(2):
        model.train_on_batch(X, targets)
    like_one.kernel.assign(one.kernel)
    return model, X, targets


def drawn() -> tuple[Any, Any, Any]:
    """What a strategy might draw: the same kinds of things, in another structure."""
    kinds: tuple[Layer, ...] = (
        Layer("dense", name="one"), Layer("dense", name="two"), Layer("dense", name="turned"),
        Layer("dense", name="like_one"), Layer("penalized", name="free"), Layer("batch_norm", name="norm"),
        Layer("dropout", name="drop"),
    )  # fmt: skip
    steps = tuple(Call(part, (value,)) for value, part in enumerate((0, 5, 6, 1, 2, 3, 4, 4)))
    parts: tuple[Part, ...] = (
        *(Layer(one.kind, "vec", name=one.name) for one in kinds),
        Graph(("vec",), steps, (7, 8), name="model"),
    )
    changes = (Tie(((0, "kernel"), (1, "kernel"))), View((2, "kernel"), (0, "kernel")))
    compiled = Compile("rmsprop", steps=2, options=("weight_decay",))
    built = build(Recipe(parts, (Root(7, compile=compiled),), changes, freezes=(Freeze(1, "bias"),)))
    built.model.get_layer("like_one").kernel.assign(built.model.get_layer("one").kernel)
    return built.model, built.inputs, built.targets


MODELS = {"by_hand": by_hand, "drawn": drawn}


@dataclass(frozen=True)
class Mutation:
    """What is done, what of the model shows that it is a change, and what the oracle has to say."""

    do: Callable[[Any], None]
    look: Callable[[Any], Any]
    says: str


def _raw(value: Any) -> bytes:
    return np.ascontiguousarray(keras.ops.convert_to_numpy(value)).tobytes()


def _flip(variable: Any) -> None:
    array = np.array(keras.ops.convert_to_numpy(variable))
    array.reshape(-1).view("uint8")[0] ^= 1
    variable.assign(array)


def _swap(one: Any, other: Any) -> None:
    left, right = np.array(one), np.array(other)
    one.assign(right)
    other.assign(left)


def _of(name: str, attribute: str = "kernel") -> Callable[[Any], Any]:
    return lambda m: getattr(m.get_layer(name), attribute)


def _slots(m: Any, what: str) -> list[Any]:
    """The states, in one list of the optimizer, of the first two variables of shape (4, 4)."""
    pairs = zip(m.optimizer._trainable_variables, getattr(m.optimizer, what), strict=True)
    return [state for variable, state in pairs if tuple(variable.shape) == (4, 4)][:2]


def _view_without_its_transpose(m: Any) -> None:
    tiedio.untie(m.get_layer("turned"), ["kernel"], models=m)
    tiedio.tie(m.get_layer("turned"), m.get_layer("one"), weights=["kernel"], models=m)


def _second_call_by_a_copy(m: Any) -> None:
    free = m.get_layer("free")
    copy = type(free).from_config(free.get_config())
    copy.build((None, 4))
    for name in ("_kernel", "bias"):
        if getattr(free, name) is not None:
            put(copy, name, getattr(free, name))
    m._nodes_by_depth[0][0].operation = copy


def _compile_with(**changed: Any) -> Callable[[Any], None]:
    def do(m: Any) -> None:
        config = {"loss": m.loss, "loss_weights": m._compile_loss._user_loss_weights, "run_eagerly": True} | changed
        m.compile(optimizer=m.optimizer, **config)

    return do


MUTATIONS: dict[str, Mutation] = {
    "a tie dropped": Mutation(
        lambda m: untie(m.get_layer("two"), "_kernel"),
        lambda m: _of("two")(m) is _of("one")(m),
        r"^ties, .*_kernel and .*_kernel are one variable in the original, but two in the loaded model",
    ),
    "a tie added where values are equal": Mutation(
        lambda m: share(m.get_layer("like_one"), "_kernel", m.get_layer("one")),
        lambda m: _of("like_one")(m) is _of("one")(m),
        r"^ties, .*_kernel and .*_kernel are two variables in the original, but one in the loaded model",
    ),
    "one bit of a weight": Mutation(
        lambda m: _flip(_of("free")(m)), lambda m: _raw(_of("free")(m)), r"^values, .*_kernel: value differs"
    ),
    "one bit of a moving mean": Mutation(
        lambda m: _flip(_of("norm", "moving_mean")(m)),
        lambda m: _raw(_of("norm", "moving_mean")(m)),
        r"^values, .*moving_mean: value differs",
    ),
    "one bit of the state of an optimizer": Mutation(
        lambda m: _flip(_slots(m, "_momentums")[0]),
        lambda m: _raw(_slots(m, "_momentums")[0]),
        r"^optimizer, .*optimizer: _momentums of model.layers\[\d\]._kernel differs",
    ),
    "one step less": Mutation(
        lambda m: m.optimizer.iterations.assign_sub(1),
        lambda m: int(m.optimizer.iterations),
        "^optimizer, .*iterations differs",
    ),
    "a seed's state": Mutation(
        lambda m: _flip(_of("drop", "seed_generator")(m).state),
        lambda m: _raw(_of("drop", "seed_generator")(m).state),
        "^values, .*seed_generator.state: value differs",
    ),
    "the states of two variables swapped": Mutation(
        lambda m: _swap(*_slots(m, "_velocities")),
        lambda m: [_raw(one) for one in _slots(m, "_velocities")],
        r"^optimizer, .*_velocities of model.layers\[\d\]._kernel differs",
    ),
    "momentum and velocity swapped": Mutation(
        lambda m: _swap(_slots(m, "_velocities")[0], _slots(m, "_momentums")[0]),
        lambda m: _raw(_slots(m, "_velocities")[0]),
        r"^optimizer, .*_momentums of model.layers\[\d\]._kernel differs\s+.*_velocities of",
    ),
    "the learning rate": Mutation(
        lambda m: setattr(m.optimizer, "learning_rate", 0.02),
        lambda m: float(m.optimizer.learning_rate),
        "^(optimizer|compile configuration), .*model.*learning_rate",
    ),
    "a view that is not transposed": Mutation(
        _view_without_its_transpose,
        lambda m: _raw(_of("turned")(m)),
        r"^ties, .*model.layers\[\d\]._kernel",
    ),
    "a view lost": Mutation(
        lambda m: tiedio.untie(m.get_layer("turned"), ["kernel"], models=m),
        lambda m: type(_of("turned")(m)).__name__,
        r"^ties, .*_kernel is a view in the original, but a variable in the loaded model",
    ),
    "a variable frozen": Mutation(
        lambda m: setattr(_of("free")(m), "trainable", False),
        lambda m: _of("free")(m).trainable,
        "^flags, .*_kernel: trainable differs: was True and is False",
    ),
    "a layer frozen that has nothing to train": Mutation(
        lambda m: setattr(m.get_layer("drop"), "trainable", False),
        lambda m: m.get_layer("drop").trainable,
        "^objects, .*trainable was True and is False",
    ),
    "the order of weights": Mutation(
        lambda m: m.get_layer("norm")._trainable_variables.reverse(),
        lambda m: [one.name for one in m.get_layer("norm").trainable_variables],
        "^(ties|orders), .*_trainable_variables",
    ),
    "a shared layer that is two": Mutation(
        _second_call_by_a_copy,
        lambda m: m._nodes_by_depth[0][0].operation is m.get_layer("free"),
        "^shared objects, .*are one layer in the original, but two in the loaded model",
    ),
    "a regularizer dropped": Mutation(
        lambda m: setattr(_of("free")(m), "regularizer", None),
        lambda m: _of("free")(m).regularizer is None,
        "^flags, .*_kernel: regularizer differs",
    ),
    "a dtype policy": Mutation(
        lambda m: setattr(m.get_layer("drop"), "dtype_policy", keras.DTypePolicy("mixed_bfloat16")),
        lambda m: m.get_layer("drop").dtype_policy.name,
        "^objects, .*dtype policy was 'float32' and is 'mixed_bfloat16'",
    ),
    "a rate of dropout": Mutation(
        lambda m: setattr(m.get_layer("drop"), "rate", 0.25),
        lambda m: m.get_layer("drop").rate,
        "^file bytes: .*'drop'.*rate: was 0.5 and is 0.25",
    ),
    "an activation": Mutation(
        lambda m: setattr(m.get_layer("one"), "activation", keras.activations.sigmoid),
        lambda m: m.get_layer("one").activation.__name__,
        "^file bytes: .*'one'.*activation: was 'tanh' and is 'sigmoid'",
    ),
    "a loss": Mutation(
        lambda m: _compile_with(loss="log_cosh", loss_weights=None)(m),
        lambda m: json.dumps(m.get_compile_config(), default=repr, sort_keys=True),
        "^compile configuration, .*model: ",
    ),
    "weights of losses": Mutation(
        lambda m: _compile_with(loss_weights=[0.25, 1.0] if isinstance(m.output, list) else {"a": 0.25, "b": 1.0})(m),
        lambda m: json.dumps(m.get_compile_config(), default=repr, sort_keys=True),
        "^compile configuration, .*model: .*loss_weights",
    ),
    "forgotten compilation": Mutation(
        lambda m: setattr(m, "compiled", False),
        lambda m: m.compiled,
        "^compile configuration, .*model: compiled was True and is False",
    ),
}


@pytest.fixture(params=MODELS)
def made(request: pytest.FixtureRequest) -> tuple[Any, Any, Any]:
    return MODELS[request.param]()


def broken(monkeypatch: pytest.MonkeyPatch, mutation: Mutation, on: int) -> list[bool]:
    """Let the load of this number be a wrong one; whether that made a difference is in the list."""
    load, loads, changed = tiedio.load, [0], []

    def wrong(path: Any, **options: Any) -> Any:
        model = load(path, **options)
        loads[0] += 1
        if loads[0] == on:
            before = mutation.look(model)
            mutation.do(model)
            changed.append(mutation.look(model) != before)
        return model

    monkeypatch.setitem(vars(tiedio), "load", wrong)
    return changed


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_of_the_loaded_model_is_caught_and_named(
    name: str, made: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, targets = made
    mutation = MUTATIONS[name]
    changed = broken(monkeypatch, mutation, on=1)
    with pytest.raises(AssertionError) as caught:
        assert_round_trip(model, inputs, targets, folder=tmp_path, second=False)
    assert changed == [True], "the mutation changes nothing"
    message = str(caught.value).replace("\n", " ")
    assert re.search(mutation.says, message), message


@pytest.mark.parametrize("name", ["a tie dropped", "one bit of a weight", "the states of two variables swapped"])
def test_a_mutation_of_the_second_load_is_caught_too(
    name: str, made: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, targets = made
    changed = broken(monkeypatch, MUTATIONS[name], on=2)
    with pytest.raises(AssertionError, match=f"^second round trip: {MUTATIONS[name].says[1:].partition(',')[0]}"):
        assert_round_trip(model, inputs, targets, folder=tmp_path)
    assert changed == [True]


def test_one_bit_of_the_file_is_caught(
    made: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, targets = made
    load = tiedio.load

    def flipped(path: Path, **options: Any) -> Any:
        data = bytearray(path.read_bytes())
        data[-4] ^= 1  # in the last tensor, which is the learning rate: no check of the header sees it
        path.write_bytes(data)
        return load(path, **options)

    monkeypatch.setitem(vars(tiedio), "load", flipped)
    with pytest.raises(
        AssertionError, match=r"^compile configuration, .*\n  model: compile config.*/learning_rate: was"
    ):
        assert_round_trip(model, inputs, targets, folder=tmp_path, second=False)


def test_models_without_a_mutation_pass(made: tuple[Any, Any, Any], tmp_path: Path) -> None:
    model, inputs, targets = made
    assert_round_trip(model, inputs, targets, folder=tmp_path)


def test_the_chain_of_a_drawn_model_is_caught_when_a_repeat_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(Recipe((Layer("dense"), Chain((0, 0))), (Root(1),)))
    load = tiedio.load

    def once(path: Path, **options: Any) -> Any:
        loaded = load(path, **options)
        return keras.Sequential([keras.Input((3, 4)), loaded.layers[0]], name=loaded.name)

    monkeypatch.setitem(vars(tiedio), "load", once)
    with pytest.raises(AssertionError, match=r"^shared objects, .*\n  model.layers\[0\] and model"):
        assert_round_trip(built.model, built.inputs, folder=tmp_path, second=False)
