"""What the manifest says was one variable is one variable again, and what it says was two is two."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from tiedio import alias as room
from tiedio import describe, keras_api, manifest, slots
from tiedio.errors import MismatchError


class Pair(keras.layers.Layer):
    """Two layers; `tied` says whether the class's own code makes them share a kernel."""

    def __init__(self, tied: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.one, self.other = keras.layers.Dense(2, name="one"), keras.layers.Dense(2, name="other")
        self.tied = tied

    def build(self, _shape: Any) -> None:
        self.one.build((None, 2))
        self.other.build((None, 2))
        if self.tied:
            set_kernel(self.other, self.one.kernel)

    def call(self, x: Any) -> Any:
        return self.other(self.one(x))


def set_kernel(layer: Any, variable: Any) -> None:
    stale = layer.kernel
    layer._tracker.unlock()
    layer._kernel = variable
    layer._trainable_variables[:] = [v for v in layer._trainable_variables if v is not stale]
    layer._tracker.lock()


def pair(tied: bool = False) -> Any:
    layer = Pair(tied, name="pair")
    layer.build((None, 2))
    return layer


def with_third() -> Any:
    layer = pair()
    with keras_api.unlocked(layer):
        layer.third = keras.layers.Dense(2, name="third")
    layer.third.build((None, 2))
    return layer


def record(root: Any) -> manifest.Manifest:
    walk = slots.walk({None: root})
    return manifest.Manifest(
        format=2,
        versions={},
        roots=(manifest.Root(None, ""),),
        objects=describe.describe_objects(walk),
        variables=describe.describe_variables(walk),
    )


def fresh(spec: manifest.Variable) -> Any:
    return keras.Variable(np.full(spec.shape, 7.0), dtype=spec.dtype, trainable=spec.created_trainable, name=spec.name)


def unexpected(*_: Any) -> Any:
    raise AssertionError("not needed here")


def apply(
    root: Any, record_: manifest.Manifest, make: Any = fresh, revive: Any = unexpected, foreign: Any = None
) -> Any:
    room.alias({None: root}, record_, record_.variables, make, revive, foreign or {})
    return root


def edited(record_: manifest.Manifest, slot: str, **changes: Any) -> manifest.Manifest:
    """The manifest with other attributes for the variable of one slot."""
    variables = tuple(
        dataclasses.replace(v, **changes) if any(s.path == slot for s in v.slots) else v for v in record_.variables
    )
    return dataclasses.replace(record_, variables=variables)


# --- ties -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [False, True], ids=["the code makes no tie", "the code makes the tie"])
@pytest.mark.parametrize("saved", [False, True], ids=["none was saved", "one was saved"])
def test_what_was_saved_wins_over_what_the_code_makes(saved: bool, code: bool) -> None:
    live = pair(tied=saved)
    rebuilt = apply(pair(tied=code), record(live))
    assert (rebuilt.one.kernel is rebuilt.other.kernel) is saved
    assert rebuilt.one.bias is not rebuilt.other.bias
    assert record(rebuilt) == record(live)


def test_a_variable_that_the_code_made_stays_where_the_manifest_agrees() -> None:
    rebuilt = pair(tied=True)
    before = [v for layer in (rebuilt.one, rebuilt.other) for v in (layer.kernel, layer.bias)]
    apply(rebuilt, record(pair(tied=True)), make=unexpected)
    after = [v for layer in (rebuilt.one, rebuilt.other) for v in (layer.kernel, layer.bias)]
    assert all(a is b for a, b in zip(after, before, strict=True))


def test_a_tie_that_is_undone_gives_the_second_slot_a_variable_of_its_own() -> None:
    rebuilt = pair(tied=True)
    kernel = rebuilt.one.kernel
    made: list[str] = []

    def noted(spec: manifest.Variable) -> Any:
        made.append(spec.slots[0].path)
        return fresh(spec)

    apply(rebuilt, record(pair()), make=noted)
    assert rebuilt.one.kernel is kernel
    assert made == ["other/kernel"]
    assert (rebuilt.other.kernel.numpy() == 7).all()


def test_three_slots_and_two_ties_that_overlap_in_a_layer() -> None:
    def crossed(tie: bool) -> Any:
        layer = with_third()
        if tie:
            set_kernel(layer.other, layer.one.kernel)
            set_kernel(layer.third, layer.one.kernel)
            layer.third._tracker.unlock()
            layer.third.bias = layer.other.bias
            layer.third._tracker.lock()
        return layer

    live = crossed(True)
    rebuilt = apply(crossed(False), record(live))
    assert rebuilt.one.kernel is rebuilt.other.kernel
    assert rebuilt.one.kernel is rebuilt.third.kernel
    assert rebuilt.other.bias is rebuilt.third.bias
    assert rebuilt.one.bias is not rebuilt.other.bias


def test_slots_that_were_swapped_are_swapped_again() -> None:
    live = pair()
    one, other = live.one.kernel, live.other.kernel
    set_kernel(live.one, other)
    set_kernel(live.other, one)
    names = [v.path for v in (live.one.kernel, live.other.kernel)]
    rebuilt = apply(pair(), record(live))
    assert [v.path for v in (rebuilt.one.kernel, rebuilt.other.kernel)] == names


@pytest.mark.parametrize(
    ("place", "look"),
    [
        (lambda v: v, lambda x: x),
        (lambda v: [v], lambda x: x[0]),
        (lambda v: [[v]], lambda x: x[0][0]),
        (lambda v: (v, v), lambda x: x[0]),
        (lambda v: (v, v), lambda x: x[1]),
        (lambda v: {"k": v, 3: v}, lambda x: x["k"]),
        (lambda v: {"k": v, 3: v}, lambda x: x[3]),
        (lambda v: {"k": (v, [v])}, lambda x: x["k"][1][0]),
    ],
    ids=["attribute", "list", "nested list", "tuple", "tuple's second", "dict", "integer key", "nested"],
)
def test_a_tie_into_a_container_is_made_in_the_container(
    place: Callable[[Any], Any], look: Callable[[Any], Any]
) -> None:
    def holding(tied: bool) -> Any:
        layer = pair()
        with keras_api.unlocked(layer):
            layer.x = place(layer.one.kernel if tied else keras.Variable(np.zeros((2, 2))))
        return layer

    live = holding(True)
    rebuilt = apply(holding(False), record(live))
    assert look(live.x) is live.one.kernel
    assert look(rebuilt.x) is rebuilt.one.kernel


def test_a_tie_into_the_graph_is_made_in_the_graph() -> None:
    def graph(tied: bool) -> Any:
        inputs = keras.Input((2,), name="in")
        dense = keras.layers.Dense(2, name="dense")
        hidden = dense(inputs)
        other = dense.kernel if tied else keras.Variable(np.zeros((2, 2)))
        return keras.Model(inputs, keras.layers.Identity(name="end")(keras.ops.matmul(hidden, other)))

    live = graph(True)
    rebuilt = graph(False)
    for layer, old in zip(rebuilt.operations, live.operations, strict=True):
        keras_api.rename(layer, old.name)
    apply(rebuilt, record(live))
    (found,) = [group for group in slots.walk({None: rebuilt}).by_variable() if len(group) > 1]
    assert [slot.path.split("/")[0] for slot in found] == ["dense", "@node"]
    rebuilt.get_layer("dense").kernel.assign(2 * np.eye(2))
    assert np.array_equal(rebuilt(np.ones((1, 2), "float32")), [[4.0, 4.0]])


# --- attributes and orders --------------------------------------------------------------------------------


def test_attributes_of_each_variable_are_those_of_the_manifest() -> None:
    live = pair()
    live.one.kernel.trainable = False
    live.other.kernel.regularizer = keras.regularizers.L2(0.5)
    live.other.bias.constraint = keras.constraints.NonNeg()
    rebuilt = apply(pair(), record(live), revive=keras.saving.deserialize_keras_object)
    assert rebuilt.one.kernel.trainable is False
    assert rebuilt.other.kernel.regularizer.l2 == 0.5
    assert isinstance(rebuilt.other.bias.constraint, keras.constraints.NonNeg)
    assert record(rebuilt) == record(live)


def test_a_regularizer_that_the_manifest_does_not_have_goes() -> None:
    rebuilt = pair()
    rebuilt.one.kernel.regularizer = keras.regularizers.L2(0.5)
    assert apply(rebuilt, record(pair())).one.kernel.regularizer is None


def test_the_flag_of_a_layer_comes_back_without_reaching_its_variables() -> None:
    live = pair()
    live.one.trainable = False
    live.one.kernel.trainable = True
    rebuilt = apply(pair(), record(live))
    assert rebuilt.one.trainable is False
    assert rebuilt.one.kernel.trainable is True
    assert rebuilt.one.bias.trainable is False


def test_the_order_of_weights_comes_back() -> None:
    live = pair()
    keras_api.set_store(live.one, "trainable_variables", list(reversed(live.one.trainable_variables)))
    keras_api.set_store(live, "layers", list(reversed(live._layers)))
    rebuilt = apply(pair(), record(live))
    assert [v.name for v in rebuilt.one.weights] == ["bias", "kernel"]
    assert [layer.name for layer in rebuilt._layers] == ["other", "one"]
    assert [v.path for v in rebuilt.weights] == [v.path for v in live.weights]


def test_a_variable_that_is_tied_is_listed_once_in_each_layer_and_once_in_the_model() -> None:
    rebuilt = apply(pair(), record(pair(tied=True)))
    assert [v.name for v in rebuilt.one.weights] == ["kernel", "bias"]
    assert [id(v) for v in rebuilt.other.weights if v.name == "kernel"] == [id(rebuilt.one.kernel)]
    assert len(rebuilt.weights) == 3
    assert rebuilt.count_params() == 8


def test_a_built_layer_is_still_locked() -> None:
    rebuilt = apply(pair(), record(pair(tied=True)))
    assert rebuilt._tracker.locked == pair()._tracker.locked
    assert rebuilt.other._tracker.locked


def test_a_variable_or_layer_of_another_model_is_told_and_not_taken() -> None:
    live = pair()
    rebuilt = pair()
    set_kernel(rebuilt.other, live.other.kernel)
    variable = live.other.kernel
    with pytest.raises(MismatchError, match="living model") as caught:
        apply(rebuilt, record(pair()), foreign={id(variable): variable})
    assert caught.value.path == "other/kernel"
    with pytest.raises(MismatchError, match="living model") as caught:
        apply(rebuilt, record(pair()), foreign={id(rebuilt.one): rebuilt.one})
    assert caught.value.path == "one"


# --- what cannot be filled --------------------------------------------------------------------------------


def test_a_variable_that_no_code_makes_is_made_for_its_slot() -> None:
    live = pair()
    with keras_api.unlocked(live):
        live.extra = keras.Variable([1.0, 2.0], name="extra")
    rebuilt = apply(pair(), record(live))
    assert (rebuilt.extra.numpy() == 7).all()
    assert any(v is rebuilt.extra for v in rebuilt.trainable_variables)


def refused(rebuilt: Any, record_: manifest.Manifest) -> MismatchError:
    with pytest.raises(MismatchError) as caught:
        apply(rebuilt, record_)
    assert caught.value.path
    return caught.value


def test_a_slot_in_a_layer_that_is_not_there() -> None:
    live = with_third()
    error = refused(pair(), record(live))
    assert str(error.path).startswith("third")


def test_a_container_that_is_not_there_is_made() -> None:
    live, rebuilt = pair(), pair()
    with keras_api.unlocked(live):
        live.x = {"a": [keras.Variable([1.0])], "b": {"": keras.Variable([2.0])}}
    apply(rebuilt, record(live))
    assert list(rebuilt.x) == ["a", "b"]
    assert len(rebuilt.x["a"]) == len(rebuilt.x["b"]) == 1
    assert any(v is rebuilt.x["a"][0] for v in rebuilt.variables)
    assert any(v is rebuilt.x["b"][""] for v in rebuilt.variables)


def test_a_slot_in_a_dict_by_number_that_is_not_there() -> None:
    live = pair()
    with keras_api.unlocked(live):
        live.x = {3: keras.Variable([1.0])}
    assert refused(pair(), record(live)).path == "x/#%33"


def test_a_layer_without_variables_that_is_not_there() -> None:
    live = pair()
    with keras_api.unlocked(live):
        live.idle = keras.layers.ReLU(name="idle")
    error = refused(pair(), record(live))
    assert error.path == "idle"
    assert "get_config" in str(error.remedy)


def test_a_member_of_a_list_that_is_not_there() -> None:
    found = record(pair())
    objects = tuple(
        dataclasses.replace(o, orders={**o.orders, "layers": (*o.orders["layers"], "gone")}) if o.path == "" else o
        for o in found.objects
    )
    assert "layers" in str(refused(pair(), dataclasses.replace(found, objects=objects)))


def test_a_variable_of_another_shape_is_not_taken_without_a_word() -> None:
    error = refused(pair(), edited(record(pair()), "one/kernel", shape=(5, 5)))
    assert error.path == "one/kernel"
    assert "(5, 5)" in str(error.expected)
    assert "(2, 2)" in str(error.found)


def test_a_variable_that_only_the_layer_s_list_holds_cannot_be_tied() -> None:
    def hidden(tied: bool) -> Any:
        layer = pair()
        with keras_api.unlocked(layer):
            layer.add_weight(shape=(2, 2), name="hidden")
        if tied:
            keras_api.set_store(layer, "trainable_variables", [layer.one.kernel])
        return layer

    error = refused(hidden(False), record(hidden(True)))
    assert "@trainable_variables" in str(error.path)
    assert "attribute" in str(error.remedy)
