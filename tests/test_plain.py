"""What is neither config nor variable has to come back too; what would not is told before anything is written."""

from __future__ import annotations

import enum
import functools
import random
import threading
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tiedio
from tiedio import plain, slots
from tiedio.errors import ModelError
from tiedio.plain import Identities


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def method(self) -> Any:
        return self


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return Slotted, (self.value,)


class Elementwise:
    __slots__ = ()

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])

    __hash__ = object.__hash__


LAYER = keras.layers.Layer()


def begun() -> Any:
    made = (number for number in range(3))
    next(made)
    return made


def function(number: float) -> Callable[[float], float]:
    return lambda x: x * number


def defaults(number: float) -> Callable[..., float]:
    def inner(x: float, *, by: float = number) -> float:
        return x * by

    return inner


def plus(x: float) -> float:
    return x + 1


def times(x: float) -> float:
    return x * 2


def ring(*content: Any) -> list[Any]:
    made = list(content)
    made.append(made)
    return made


def nested(depth: int) -> Any:
    made: Any = 1
    for _ in range(depth):
        made = [made]
    return made


SAME: dict[str, Callable[[], Any]] = {
    "a number": lambda: 3,
    "not a number": lambda: float("nan"),
    "a string": lambda: "abc",
    "bytes": lambda: b"\xff",
    "an enum": lambda: Color.RED,
    "a type": lambda: Color,
    "an array": lambda: np.array([1.0, np.nan, -0.0]),
    "a tensor": lambda: keras.ops.ones((2, 2)),
    "a list": lambda: [1, [2, (3,)]],
    "a dict": lambda: {1: {"a": [1.5]}, None: ()},
    "a set": lambda: {1, "a"},
    "a plain object": lambda: Plain(a=1, b=[Plain(c=2)]),
    "an object with slots": lambda: Slotted([1]),
    "a function": lambda: function(2.0),
    "a function of a module": lambda: plus,
    "a partial": lambda: functools.partial(max, 1, key=abs),
    "a method": lambda: Plain(a=1).method,
    "a regularizer": lambda: keras.regularizers.L2(0.1),
    "an initializer without a seed": lambda: keras.initializers.GlorotUniform(),
    "a list in itself": lambda: ring(1),
    "a range": lambda: range(3),
    "a complex number": lambda: 1 + 2j,
    "a generator at its start": lambda: (number for number in range(3)),
    "a lock": threading.Lock,
}

DIFFERENT: dict[str, tuple[Any, Any]] = {
    "another number": (1, 2),
    "a number and a truth": (1, True),
    "an integer and a float": (1, 1.0),
    "a number and none": (0, None),
    "another string": ("a", "b"),
    "a list and a tuple": ([1], (1,)),
    "a longer list": ([1], [1, 2]),
    "another key": ({"a": 1}, {"b": 1}),
    "one key more": ({"a": 1}, {"a": 1, "b": None}),
    "deep inside": ({"a": [(1, {2: 3})]}, {"a": [(1, {2: 4})]}),
    "another member": (Color.RED, Color.BLUE),
    "another set": ({1, 2}, {1, 3}),
    "another array": (np.ones(2), np.zeros(2)),
    "another sign of zero in an array": (np.array([0.0]), np.array([-0.0])),
    "another dtype": (np.ones(2, "float32"), np.ones(2, "float64")),
    "another shape": (np.ones((2, 1)), np.ones((1, 2))),
    "an array and a list": (np.ones(2), [1.0, 1.0]),
    "another tensor": (keras.ops.ones(2), keras.ops.zeros(2)),
    "another plain object": (Plain(a=1), Plain(a=2)),
    "one attribute more": (Plain(a=1), Plain(a=1, b=1)),
    "another object with slots": (Slotted(1), Slotted(2)),
    "another captured number": (function(2.0), function(3.0)),
    "another default": (defaults(2.0), defaults(3.0)),
    "another function": (plus, times),
    "another argument": (functools.partial(plus, 1), functools.partial(plus, 2)),
    "a method of another object": (Plain(a=1).method, Plain(a=2).method),
    "another regularizer": (keras.regularizers.L2(0.1), keras.regularizers.L2(0.2)),
    "another ring": (ring(1), ring(2)),
    "another class": (Plain(), object()),
    "a generator that has begun": (begun(), (number for number in range(3))),
    "an iterator that no pickle can keep": (map(function(1.0), [1.0]), map(function(1.0), [1.0])),
    "an operation that approximates": (keras.ops.gelu, keras.activations.gelu),
    "a loss and an operation": (keras.ops.binary_crossentropy, keras.losses.binary_crossentropy),
    "a number beside a layer in a set": ({LAYER, 1}, {LAYER, 2}),
    "an equality that gives arrays": (Elementwise(), Elementwise()),
}


def test_two_makings_of_one_value_are_the_same() -> None:
    assert [name for name, make in SAME.items() if not plain.equal(make(), make(), Identities())] == []


def test_two_values_are_not_the_same() -> None:
    assert [name for name, (one, other) in DIFFERENT.items() if plain.equal(one, other, Identities())] == []
    assert [name for name, (one, other) in DIFFERENT.items() if plain.equal(other, one, Identities())] == []


def test_a_numpy_number_is_the_python_number_that_it_is() -> None:
    for number in (np.int64(3), np.uint8(3), np.bool_(True)):
        assert plain.equal(number, number.item(), Identities())
        assert plain.equal((number,), (number.item(),), Identities())
        assert not plain.equal(number, number.item() + 1, Identities())


def test_a_numpy_float_is_no_python_float_for_it_decides_on_dtypes() -> None:
    for number in (np.float16(0.5), np.float32(0.5), np.float64(0.5)):
        assert plain.equal(number, type(number)(0.5), Identities())
        assert not plain.equal(number, 0.5, Identities())
        assert not plain.equal([0.5], [number], Identities())
    assert not plain.equal(np.float32(0.5), np.float64(0.5), Identities())


def test_what_keras_wraps_when_it_is_set_is_the_same_as_what_was_set() -> None:
    class Holder(keras.layers.Layer):
        pass

    holder = Holder()
    for value in ([1, [2]], {"a": {1: 2}}, (1, (2,))):
        holder.value = value
        assert plain.equal(vars(holder)["value"], value, Identities())


def test_weak_references_are_as_what_they_refer_to() -> None:
    one, same, other = Plain(a=1), Plain(a=1), Plain(a=2)
    assert plain.equal(weakref.ref(one), weakref.ref(same), Identities())
    assert not plain.equal(weakref.ref(one), weakref.ref(other), Identities())


def test_layers_are_the_same_if_their_places_are() -> None:
    one, other, stranger = keras.layers.Dense(1), keras.layers.Dense(1), keras.layers.Dense(1)
    places = Identities({id(one): "a"}, {id(other): "a"})
    moved = Identities({id(one): "a"}, {id(other): "b"})
    assert plain.equal([one], [other], places)
    assert not plain.equal([one], [other], moved)
    assert not plain.equal(weakref.ref(one), weakref.ref(stranger), places)


def test_what_nests_too_deep_to_be_compared_is_not_taken_for_the_same() -> None:
    assert plain.equal(nested(100), nested(100), Identities())
    assert not plain.equal(nested(100_000), nested(100_000), Identities())


def test_objects_that_differ_are_told_with_place_and_both_sides() -> None:
    with pytest.raises(ModelError) as caught:
        plain.compare_objects("block/inner", Plain(a=1, _rate=0.5), Plain(a=1, _rate=0.25))
    error = caught.value
    assert error.path == "block/inner/_rate"
    assert error.expected == "0.5"
    assert "0.25" in str(error.found)
    assert "'rate'" in str(error.remedy)
    assert "get_config of Plain" in str(error.remedy)


def test_long_values_are_told_in_short() -> None:
    with pytest.raises(ModelError) as caught:
        plain.compare_objects("", Plain(a="x" * 10_000), Plain(a="y"))
    assert len(str(caught.value)) < 500


def test_an_object_of_another_class_is_told() -> None:
    with pytest.raises(ModelError, match="another class") as caught:
        plain.compare_objects("", Plain(), Slotted(1))
    error = caught.value
    assert error.path == "the model"
    assert str(error.expected).endswith(".Plain")
    assert str(error.found).endswith(".Slotted")
    assert "register" in str(error.remedy)


def test_an_attribute_that_is_none_is_like_one_that_is_not_there() -> None:
    plain.compare_objects("", Plain(cache=None), Plain())


# --- through save -----------------------------------------------------------------------------------------


class Custom(keras.layers.Layer):
    """Returns `factor` from `get_config`, and `forgotten` not."""

    def __init__(self, factor: Any = 1.0, forgotten: Any = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.factor, self.forgotten = factor, forgotten

    def call(self, x: Any) -> Any:
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def with_layer(layer: Any) -> Any:
    return keras.Sequential([keras.Input((3,)), layer])


def refused(layer: Any, folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        tiedio.save(with_layer(layer), folder / "model.safetensors")
    assert list(folder.iterdir()) == []
    return caught.value


def test_a_get_config_that_forgets_an_argument(tmp_path: Path) -> None:
    error = refused(Custom(2.0, forgotten=3.0, name="mine"), tmp_path)
    assert error.path == "mine/forgotten"
    assert error.expected == "3.0"
    assert "1.0" in str(error.found)
    assert "return 'forgotten' from get_config of Custom" in str(error.remedy)


def test_an_argument_that_is_forgotten_but_has_its_default_comes_back(tmp_path: Path) -> None:
    tiedio.save(with_layer(Custom(2.0)), tmp_path / "model.safetensors")
    assert tiedio.load(tmp_path / "model.safetensors", custom_objects={"Custom": Custom}).layers[0].factor == 2.0


@pytest.mark.parametrize(
    "draw",
    [lambda: np.random.rand(3), lambda: keras.random.normal((3,)), random.random, lambda: {"a": [np.random.rand()]}],
    ids=["numpy", "keras", "python", "nested"],
)
def test_a_random_value_made_in_a_constructor(tmp_path: Path, draw: Callable[[], Any]) -> None:
    class Draws(keras.layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.noise = draw()

        def call(self, x: Any) -> Any:
            return x

    error = refused(Draws(name="draws"), tmp_path)
    assert str(error.path).startswith("draws/noise")
    assert "noise" in str(error.remedy)


@pytest.mark.parametrize(
    "value",
    [3, [1, {"k": 2}], (1,), np.ones(2), Plain(a=1), "text", Color.BLUE, plus, keras.regularizers.L2(0.3)],
    ids=lambda v: type(v).__name__,
)
def test_an_attribute_that_was_set_by_hand(tmp_path: Path, value: Any) -> None:
    layer = Custom(name="mine")
    layer.by_hand = value
    assert refused(layer, tmp_path).path == "mine/by_hand"


def test_a_method_that_was_replaced_by_hand(tmp_path: Path) -> None:
    layer = Custom(name="mine")
    layer.__dict__["call"] = types.MethodType(lambda self, x: 2 * x, layer)
    assert str(refused(layer, tmp_path).path).startswith("mine")


def test_a_flag_of_keras_that_no_config_returns(tmp_path: Path) -> None:
    layer = Custom(name="mine")
    layer.supports_masking = True
    assert "masking" in str(refused(layer, tmp_path).path)


def test_what_is_set_by_hand_and_stands_in_the_config_comes_back(tmp_path: Path) -> None:
    dense = keras.layers.Dense(3, name="dense")
    dropout = keras.layers.Dropout(0.5, name="dropout")
    model = keras.Sequential([keras.Input((3,)), dense, dropout])
    dense.activation, dropout.rate = keras.activations.relu, 0.25
    tiedio.save(model, tmp_path / "model.safetensors")
    loaded = tiedio.load(tmp_path / "model.safetensors")
    assert loaded.layers[0].activation is keras.activations.relu
    assert loaded.layers[1].rate == 0.25


@pytest.mark.parametrize("layer", [keras.layers.Dense(3), keras.layers.EinsumDense("ab,bc->ac", 3)])
def test_a_model_whose_weights_were_loaded_by_keras_is_saved(layer: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    tiedio.save(loaded, tmp_path / "model.safetensors")
    assert np.array_equal(tiedio.load(tmp_path / "model.safetensors").layers[0].kernel, loaded.layers[0].kernel)


def test_notes_on_a_model_of_keras_are_no_state(tmp_path: Path) -> None:
    model = with_layer(keras.layers.Dense(1))
    model.note = "trained on Tuesday"
    tiedio.save(model, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.layers.Dropout(np.float32(0.5)),
        lambda: keras.layers.Reshape(np.array([3, 1])),
        lambda: keras.layers.LeakyReLU(np.float64(0.1)),
    ],
    ids=["Dropout", "Reshape", "LeakyReLU"],
)
def test_numpy_numbers_as_arguments_of_a_layer_are_carried(tmp_path: Path, make: Callable[[], Any]) -> None:
    tiedio.save(with_layer(make()), tmp_path / "model.safetensors")
    tiedio.load(tmp_path / "model.safetensors")


def test_without_the_check_the_attribute_is_lost(tmp_path: Path) -> None:
    tiedio.save(with_layer(Custom(forgotten=3.0)), tmp_path / "model.safetensors", check=False)
    loaded = tiedio.load(tmp_path / "model.safetensors", custom_objects={"Custom": Custom})
    assert loaded.layers[0].forgotten == 1.0


def test_a_model_and_its_twin_have_nothing_to_tell() -> None:
    def walk() -> slots.Walk:
        keras.utils.clear_session(free_memory=False)
        return slots.walk({None: with_layer(keras.layers.Dense(2, kernel_regularizer="l2"))})

    plain.compare(walk(), walk())
