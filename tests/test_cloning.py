"""`tiedio.clone`: a second model with the same ties, which shares nothing with the first."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import keras_api
from tiedio.errors import ModelError
from tiedio.testing import oracle, zoo, zoo_systems
from tiedio.testing.pairing import pair
from tiedio.testing.zoo_base import floats, share, trained

X, Y = floats(4, 3), floats(4, 3, seed=1)

SYSTEMS = [name for name in zoo.case_names() if hasattr(zoo_systems, name)]
# The systems, and a good part of all the rest.
NAMES = sorted({*SYSTEMS, *zoo.case_names()[::9], "a_constraint_on_the_side_that_gave_the_variable"})
DRAWN = [*NAMES[::3], "variables_of_every_dtype_in_two_layers"]


def tied(**options: Any) -> Any:
    """Two layers of one kernel; trained a little."""
    inputs = keras.Input((3,))
    first, second = keras.layers.Dense(3, name="first", **options), keras.layers.Dense(3, name="second")
    model = keras.Model(inputs, second(first(inputs)), name="tied")
    share(second, "_kernel", first)
    return trained(model, X, Y)


def values(model: Any) -> list[bytes]:
    models = model.values() if isinstance(model, dict) else [model]
    found = [variable for one in models for variable in one.variables]
    found += [v for one in models if one.compiled and one.optimizer for v in one.optimizer.variables]
    return [np.asarray(keras.ops.convert_to_numpy(variable)).tobytes() for variable in found]


def random_state() -> tuple[Any, ...]:
    generator = keras_api.get_global(keras_api.GLOBAL_SEED_GENERATOR)
    keras_state = None if generator is None else (id(generator), generator.state.numpy().tolist())
    return random.getstate(), str(np.random.get_state()), keras_state


def assert_shares(case: zoo.Case, model: Any) -> None:
    for group in case.same(model):
        assert all(one is other for one, other in pairwise(group))
    for group in case.apart(model):
        assert all(one is not other for one, other in combinations(group, 2))


# --- the zoo --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name} is cloned with its ties")
def test_cloned(name: str) -> None:
    case = zoo.build_case(name)
    before, counters, state = values(case.model), dict(keras_api.get_global("object_name_uids")), random_state()
    clone = tiedio.clone(case.model, optimizer=True)
    assert (dict(keras_api.get_global("object_name_uids")), random_state()) == (counters, state)
    assert values(case.model) == before
    assert_shares(case, clone)
    oracle._assert_same_state(pair(case.model, clone), "after cloning")


@pytest.mark.parametrize(
    "name",
    DRAWN,
    ids=lambda name: f"{name} is cloned with new values",
)
def test_cloned_with_new_values(name: str) -> None:
    case = zoo.build_case(name)
    before = values(case.model)
    clone = tiedio.clone(case.model, weights=False)
    assert values(case.model) == before
    assert_shares(case, clone)
    assert [fault for fault in pair(case.model, clone).faults if "optimizer" not in fault] == []
    assert [tie.slots for tie in tiedio.find_ties(clone)] == [tie.slots for tie in tiedio.find_ties(case.model)]


# --- what a clone is ------------------------------------------------------------------------------------


def test_a_clone_is_not_compiled_unless_it_is_asked_for() -> None:
    model = tied()
    assert tiedio.clone(model).compiled is False
    assert tiedio.clone(model, optimizer=True).compiled is True
    assert (model.compiled, model.optimizer.iterations.numpy()) == (True, 2)


def test_a_model_that_is_not_compiled_is_cloned_as_it_is() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert tiedio.clone(model, optimizer=True).compiled is False


def test_a_clone_makes_the_same_next_step() -> None:
    model = tied()
    clone = tiedio.clone(model, optimizer=True)
    for one in (model, clone):
        one.reset_metrics()
    assert model.train_on_batch(X, Y) == clone.train_on_batch(X, Y)
    assert values(model) == values(clone)
    assert clone.get_layer("first").kernel is clone.get_layer("second").kernel


def test_names_and_paths_are_the_models_and_no_automatic_name_is_taken() -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.5)(inputs)))
    clone = tiedio.clone(model)
    assert clone.name == model.name
    assert [layer.name for layer in clone.layers] == [layer.name for layer in model.layers]
    assert [variable.path for variable in clone.variables] == [variable.path for variable in model.variables]
    assert keras.layers.Dense(2).name == "dense_1"


def test_roots_that_share_layers_are_cloned_together() -> None:
    inputs = keras.Input((3,))
    code = keras.layers.Dense(2, name="code")
    encoder = keras.Model(inputs, code(inputs), name="encoder")
    autoencoder = keras.Model(inputs, keras.layers.Dense(3, name="decoder")(encoder.output), name="autoencoder")
    clones = tiedio.clone({"encoder": encoder, "autoencoder": autoencoder})
    assert list(clones) == ["encoder", "autoencoder"]
    assert clones["encoder"].get_layer("code") is clones["autoencoder"].get_layer("code")
    assert clones["encoder"].get_layer("code") is not code
    assert np.array_equal(clones["autoencoder"](X), autoencoder(X))


def test_a_subclassed_model_whose_class_nobody_registered() -> None:
    class Twice(keras.Model):
        def __init__(self, width: int, **options: Any) -> None:
            super().__init__(**options)
            self.first, self.second = keras.layers.Dense(width), keras.layers.Dense(width)

        def call(self, x: Any) -> Any:
            return self.second(self.first(x))

        def get_config(self) -> Any:
            return {**super().get_config(), "width": self.first.units}

    model = Twice(3)
    model(X)
    share(model.second, "_kernel", model.first)
    clone = tiedio.clone(model)
    assert type(clone) is Twice
    assert clone.first.kernel is clone.second.kernel is not model.first.kernel
    assert np.array_equal(clone(X), model(X))


def test_a_lambda_is_the_living_one_and_may_read_its_module() -> None:
    inputs = keras.Input((3,))
    layer = keras.layers.Lambda(lambda x: keras.ops.tanh(x) + X[0, 0])
    model = keras.Model(inputs, layer(keras.layers.Dense(3)(inputs)))
    model.compile("sgd", lambda y, p: keras.ops.mean(keras.ops.abs(y - p)))
    clone = tiedio.clone(model, optimizer=True)
    assert clone.layers[2].function is layer.function
    assert np.array_equal(clone(X), model(X))
    assert model.train_on_batch(X, Y) == clone.train_on_batch(X, Y)


def test_compiled_functions_of_the_model_stay_and_the_clone_traces_its_own() -> None:
    model = tied()
    model.compile("adam", "mse")
    model.fit(X, Y, verbose=0)
    model.predict(X, verbose=0)
    functions = (model.train_function, model.predict_function)
    clone = tiedio.clone(model, optimizer=True)
    assert (model.train_function, model.predict_function) == functions
    before = values(model)
    clone.fit(X, Y, verbose=0)
    assert values(model) == before != values(clone)


# --- memory of its own ----------------------------------------------------------------------------------


def large() -> Any:
    """Variables large enough to be shared by address, in the dtypes that are shared in other ways."""
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(64, name="first", dtype="float32")(inputs)
    hidden = keras.layers.Dense(64, name="half", dtype="bfloat16")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(64, name="last", dtype="float64")(hidden))
    model.compile(keras.optimizers.Adam(0.1), "mse", run_eagerly=True)
    model.train_on_batch(np.ones((4, 64)), np.ones((4, 64)))
    return model


@pytest.mark.parametrize("who", ["model", "clone"])
def test_training_one_leaves_every_value_of_the_other(who: str) -> None:
    model = large()
    clone = tiedio.clone(model, optimizer=True)
    trains, rests = (model, clone) if who == "model" else (clone, model)
    before = values(rests)
    assert values(trains) == before
    for _ in range(3):
        trains.train_on_batch(np.ones((4, 64)), np.zeros((4, 64)))
    for variable in trains.variables:
        variable.assign_add(keras.ops.ones_like(variable))
    assert values(rests) == before
    assert values(trains) != before


def test_a_clone_outlives_its_model() -> None:
    model = large()
    before = values(model)
    clone = tiedio.clone(model, optimizer=True)
    del model
    gc.collect()
    assert values(clone) == before


def test_a_constant_in_the_graph_is_copied() -> None:
    inputs, constant = keras.Input((3,)), floats(3, 3, seed=2)
    model = keras.Model(inputs, keras.ops.matmul(keras.layers.Dense(3)(inputs), constant))
    clone = tiedio.clone(model)
    before = np.array(clone(X))
    constant[:] = 0
    assert np.array_equal(clone(X), before)


# --- new values -----------------------------------------------------------------------------------------


def test_new_values_are_drawn_once_for_a_tie_and_are_not_the_models() -> None:
    model = tied(bias_initializer="random_normal")
    clone = tiedio.clone(model, weights=False)
    first, second = clone.get_layer("first"), clone.get_layer("second")
    assert first.kernel is second.kernel
    assert not np.array_equal(first.kernel, model.get_layer("first").kernel)
    assert not np.array_equal(first.bias, model.get_layer("first").bias)
    assert np.all(first.kernel != 0)
    assert not np.any(second.bias)  # as its initializer makes it
    assert clone.compiled is False


def test_new_values_follow_the_seed_and_move_the_random_state() -> None:
    model = tied()
    kernels = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        state = random_state()
        kernels.append(np.array(tiedio.clone(model, weights=False).get_layer("first").kernel))
        assert random_state()[0] != state[0]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(tiedio.clone(model, weights=False).get_layer("first").kernel, kernels[0])


def test_the_value_of_a_variable_that_no_code_makes_stays() -> None:
    layer = keras.layers.Dense(3, name="dense")
    model = keras.Sequential([keras.Input((3,)), layer])
    with keras_api.unlocked(layer):
        layer.scale = keras.Variable([1.0, 2.0, 3.0])
    clone = tiedio.clone(model, weights=False)
    assert clone.layers[0].scale.numpy().tolist() == [1.0, 2.0, 3.0]
    assert clone.layers[0].scale is not layer.scale
    assert not np.array_equal(clone.layers[0].kernel, layer.kernel)


def test_what_was_adapted_stays_where_weights_are_new() -> None:
    normalization = keras.layers.Normalization(name="normalization")
    normalization.adapt(floats(16, 3, seed=5))
    words = keras.layers.TextVectorization(output_sequence_length=2, name="words")
    words.adapt(["a b", "b c"])
    numbers = keras.Input((3,))
    hidden = keras.layers.BatchNormalization(name="batch")(keras.layers.Dense(3, name="dense")(normalization(numbers)))
    text = keras.Input((1,), dtype="string")
    roots = {"numbers": keras.Model(numbers, hidden), "text": keras.Model(text, words(text))}
    roots["numbers"].get_layer("batch").moving_mean.assign([1.0, 2.0, 3.0])
    clones = tiedio.clone(roots, weights=False)
    assert np.array_equal(clones["numbers"].get_layer("normalization").mean, normalization.mean)
    assert clones["text"].get_layer("words").get_vocabulary() == words.get_vocabulary()
    assert not np.any(clones["numbers"].get_layer("batch").moving_mean)
    kernels = [one["numbers"].get_layer("dense").kernel for one in (roots, clones)]
    assert not np.array_equal(*kernels)


class Storing(keras.layers.Layer):
    """Stores its weight, and a count beside it, by hooks of its own."""

    count = 0

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(shape[-1],), initializer="random_normal")

    def call(self, x: Any) -> Any:
        return x * self.kernel

    def save_own_variables(self, store: Any) -> None:
        store["kernel"], store["count"] = self.kernel, np.array(self.count)

    def load_own_variables(self, store: Any) -> None:
        self.kernel.assign(store["kernel"])
        self.count = int(store["count"])


def test_what_a_hook_stores_beside_weights_stays_where_weights_are_new() -> None:
    model = keras.Sequential([keras.Input((3,)), Storing(name="storing")])
    model.layers[0].count = 7
    same, new = tiedio.clone(model), tiedio.clone(model, weights=False)
    assert (same.layers[0].count, new.layers[0].count) == (7, 7)
    assert np.array_equal(same.layers[0].kernel, model.layers[0].kernel)
    assert not np.array_equal(new.layers[0].kernel, model.layers[0].kernel)
    assert np.all(new.layers[0].kernel != 0)


# --- what cannot be cloned ------------------------------------------------------------------------------


class Forgetful(keras.layers.Layer):
    def __init__(self, factor: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.factor = factor

    def call(self, x: Any) -> Any:
        return self.factor * x

    def get_config(self) -> Any:
        return super().get_config()


class Failing(keras.layers.Layer):
    def call(self, x: Any) -> Any:
        return x

    @classmethod
    def from_config(cls, config: Any) -> Any:
        raise RuntimeError("not today")


def of(layer: Any) -> Callable[[], Any]:
    return lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), layer()])


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize(
    ("make", "what", "path"),
    [
        (of(lambda: Forgetful(3.0, name="forgetful")), "would not come back", "forgetful/factor"),
        (of(lambda: Failing(name="failing")), "cannot be made again", "failing"),
        (lambda: keras.Sequential([keras.layers.Dense(3)], name="mine"), "not built", "mine"),
    ],
    ids=["forgets an argument", "cannot be made", "is not built"],
)
def test_a_model_that_would_not_come_back_is_refused(
    make: Callable[[], Any], what: str, path: str, weights: bool
) -> None:
    model = make()
    before, counters = values(model), dict(keras_api.get_global("object_name_uids"))
    with pytest.raises(ModelError, match="the model cannot be cloned: ") as caught:
        tiedio.clone(model, weights=weights)
    assert what in str(caught.value)
    assert "written" not in str(caught.value)
    assert caught.value.path == path
    assert caught.value.remedy
    assert values(model) == before
    assert dict(keras_api.get_global("object_name_uids")) == counters


def test_an_optimizer_without_the_weights_it_belongs_to_is_refused() -> None:
    with pytest.raises(ModelError, match="belongs to the weights") as caught:
        tiedio.clone(tied(), weights=False, optimizer=True)
    assert (caught.value.path, caught.value.found) == ("optimizer", "optimizer=True, weights=False")


@pytest.mark.parametrize("thing", [3, None, {}, {"a": keras.layers.Dense(1)}, {1: None}], ids=repr)
def test_what_is_not_a_model_is_refused(thing: Any) -> None:
    with pytest.raises(ModelError):
        tiedio.clone(thing)
