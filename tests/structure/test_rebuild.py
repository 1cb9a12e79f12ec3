"""A table becomes the model again: each object once, calls in order, nothing made that another's code makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tiedio import keras_api, slots, strict_json
from tiedio.limits import Limits
from tiedio.structure.audit import Rules
from tiedio.structure.rebuild import Rebuilder
from tiedio.structure.table import tabulate

X = np.linspace(-1, 1, 6).reshape(2, 3).astype("float32")


class Wraps(keras.layers.Layer):
    """Takes a layer and gives it back in its config; makes another in its constructor and one more in `build`."""

    def __init__(self, inner: Any, **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner
        self.made = keras.layers.Dense(3, name="made")

    def build(self, _shape: Any) -> None:
        self.late = keras.layers.Dense(3, name="late")
        self.late.build((None, 3))

    def call(self, x: Any) -> Any:
        return self.late(self.made(self.inner(x)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "inner": keras.saving.serialize_keras_object(self.inner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)


class Box:
    """A plain object; Keras itself, which does not look into it, would recurse without end."""

    def __init__(self, content: Any) -> None:
        self.content = content


class Parent(keras.layers.Layer):
    """Makes a child in its constructor."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.child = keras.layers.Dense(3, name="child")

    def build(self, shape: Any) -> None:
        if not self.child.built:
            self.child.build(shape)

    def call(self, x: Any) -> Any:
        return self.child(x)


class KnownParent(Parent):
    """Makes a child that knows its parent."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.child.parent = Box(self)


CUSTOM: dict[str, Any] = {"Wraps": Wraps, "Parent": Parent, "KnownParent": KnownParent}


def rebuilder(
    roots: Any, change: Callable[[dict[str, Any]], None] | None = None, asked: list[str] | None = None
) -> Rebuilder:
    walk = slots.walk(roots if isinstance(roots, dict) else {None: roots})
    found = tabulate(walk)
    record = json.loads(strict_json.dumps(found.record))
    if change is not None:
        change(record)
    by_path = {slot.path: slot.variable for slot in walk.slots}

    def variable(path: str) -> Any:
        if asked is not None:
            asked.append(path)
        return keras.Variable(by_path[path].numpy())

    return Rebuilder(
        record,
        [found.path for found in walk.objects],
        rules=Rules(CUSTOM, safe_mode=True, limits=Limits().for_file(1 << 20)),
        variable=variable,
        constant=lambda name: np.array(found.constants[name]),
    )


def rebuilt(roots: Any, **options: Any) -> Any:
    return rebuilder(roots, **options).run()[0]


def names(model: Any) -> list[tuple[str, str]]:
    return [(found.path, type(found.value).__name__) for found in slots.walk({None: model}).objects]


def copied(model: Any, source: Any) -> Any:
    model.set_weights(source.get_weights())
    return model


# --- one object for one object --------------------------------------------------------------------------


def test_a_shared_layer_is_one_object_in_the_graph_and_in_what_refers_to_it() -> None:
    inner = keras.layers.Dense(3, name="inner")
    inputs = keras.Input((3,), name="in")
    model = keras.Model(inputs, inner(Wraps(inner, name="wraps")(inner(inputs))), name="model")
    found = rebuilt(model)
    assert names(found) == names(model)
    assert found.get_layer("wraps").inner is found.get_layer("inner")
    assert found.get_layer("inner") is not inner
    assert np.array_equal(copied(found, model)(X), model(X))


def test_what_a_layer_makes_itself_is_made_once_and_by_it() -> None:
    made: list[str] = []

    class Counts(keras.layers.Dense):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self.name)

    class Owner(keras.layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.parts = [Counts(3, name="first"), Counts(3, name="second")]

        def call(self, x: Any) -> Any:
            return self.parts[1](self.parts[0](x))

    model = keras.Sequential([keras.Input((3,)), Owner(name="owner")])
    CUSTOM.update(Counts=Counts, Owner=Owner)
    made.clear()
    found = rebuilt(model)
    assert made == ["first", "second"]
    assert names(found) == names(model)


def test_a_child_of_build_is_found_after_the_first_call() -> None:
    model = keras.Sequential([keras.Input((3,)), Wraps(keras.layers.Dense(3, name="inner"), name="wraps")])
    found = rebuilt(model)
    assert names(found) == names(model)
    assert found.layers[0].late.built


def test_a_child_that_knows_its_parent_knows_the_one_that_holds_it() -> None:
    model = keras.Sequential([keras.Input((3,)), KnownParent(name="parent")])
    parent = rebuilt(model).layers[0]
    assert parent.child.parent.content is parent
    assert parent is not model.layers[0]


def test_a_child_that_was_put_in_by_hand_is_put_in_again() -> None:
    holder = Parent(name="parent")
    holder.extra = keras.layers.Dense(3, name="extra")
    holder.extra.build((None, 3))
    model = keras.Sequential([keras.Input((3,)), holder])
    found = rebuilt(model)
    assert names(found) == names(model)
    assert found.layers[0].extra is not holder.extra


def test_a_layer_that_an_argument_brings_along_is_the_one_that_the_argument_holds() -> None:
    class Decoder(keras.layers.Layer):
        def __init__(self, encoder: Any, **options: Any) -> None:
            super().__init__(**options)
            self.encoder, self.inner = encoder, encoder.inner

        def call(self, x: Any) -> Any:
            return self.inner(x)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "encoder": keras.saving.serialize_keras_object(self.encoder)}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Any:
            return cls(keras.saving.deserialize_keras_object(config.pop("encoder")), **config)

    CUSTOM.update(Decoder=Decoder)
    encoder = Wraps(keras.layers.Dense(3, name="inner"), name="encoder")
    inputs = keras.Input((3,), name="in")
    for outputs in (Decoder(encoder, name="a")(encoder(inputs)), encoder(Decoder(encoder, name="b")(inputs))):
        model = keras.Model(inputs, outputs)
        found = rebuilt(model)
        assert names(found) == names(model)
        decoder = found.layers[2] if isinstance(found.layers[2], Decoder) else found.layers[1]
        assert decoder.encoder is found.get_layer("encoder")
        assert decoder.inner is decoder.encoder.inner


def test_a_child_that_another_layer_takes_before_its_owner_is_called() -> None:
    owner = Parent(name="parent")
    inputs = keras.Input((3,), name="in")
    model = keras.Model(inputs, owner(Wraps(owner.child, name="wraps")(inputs)))
    found = rebuilt(model)
    assert names(found) == names(model)
    assert found.get_layer("wraps").inner is found.get_layer("parent").child
    assert np.array_equal(copied(found, model)(X), model(X))


def test_a_layer_in_two_roots_is_one_object() -> None:
    shared = keras.layers.Dense(3, name="shared")
    inputs = keras.Input((3,))
    hidden = shared(inputs)
    roots = {"a": keras.Model(inputs, hidden), "b": keras.Model(inputs, keras.layers.Dense(1, name="end")(hidden))}
    first, second, *_ = rebuilder(roots).run()
    assert first.get_layer("shared") is second.get_layer("shared")
    assert first.input is second.input or first.inputs[0] is second.inputs[0]


def test_a_repeated_layer_of_a_sequential_is_repeated() -> None:
    dense = keras.layers.Dense(3, name="dense")
    model = keras.Sequential([keras.Input((3,)), dense, keras.layers.ReLU(name="relu"), dense])
    found = rebuilt(model)
    assert keras_api.sequential_layers(found)[1] is keras_api.sequential_layers(found)[3]
    assert np.array_equal(copied(found, model)(X), model(X))


def test_both_directions_of_a_bidirectional_come_back_as_it_copied_them() -> None:
    model = keras.Sequential(
        [keras.Input((4, 3)), keras.layers.Bidirectional(keras.layers.LSTM(2, name="lstm"), name="both")]
    )
    found = rebuilt(model)
    assert names(found) == names(model)
    x = np.ones((1, 4, 3), "float32")
    assert np.array_equal(copied(found, model)(x), model(x))


# --- graphs ---------------------------------------------------------------------------------------------


def test_calls_come_in_the_order_in_which_they_were_made() -> None:
    dense = keras.layers.Dense(3, name="dense")
    one, other = keras.Input((3,), name="one"), keras.Input((3,), name="other")
    late, early = dense(other), dense(one)
    model = keras.Model([one, other], [early, late])
    found = rebuilt(model)
    inbound = [[t.name for t in node.input_tensors] for node in found.get_layer("dense")._inbound_nodes]
    assert inbound == [["other"], ["one"]]
    assert [t.name for t in found.inputs] == ["one", "other"]


def test_structures_of_inputs_and_outputs_come_back() -> None:
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((3,), name="b")}
    summed = keras.layers.Add(name="sum")([inputs["a"], inputs["b"]])
    model = keras.Model(inputs, {"out": summed, "also": (inputs["a"], [summed])})
    found = rebuilt(model)
    result = found({"a": X, "b": X})
    assert np.array_equal(result["out"], 2 * X)
    assert np.array_equal(result["also"][0], X)
    assert np.array_equal(result["also"][1][0], 2 * X)
    assert found.output_names == model.output_names


def test_arguments_of_calls_come_back() -> None:
    inputs = keras.Input((3,), name="in")
    hidden = keras.ops.add(inputs, np.array([1, 2, 3], "float32"))
    hidden = keras.ops.multiply(hidden, keras.ops.full((3,), 2.0))
    hidden = keras.layers.Dropout(0.5, name="dropout")(hidden, training=False)
    model = keras.Model(inputs, hidden[:, ::2, None])
    found = rebuilt(model)
    assert np.array_equal(found(X), model(X))


def test_a_live_variable_in_a_call_is_asked_for_by_its_slot() -> None:
    inputs = keras.Input((3,), name="in")
    dense = keras.layers.Dense(3, name="dense")
    model = keras.Model(inputs, keras.ops.matmul(dense(inputs), dense.kernel))
    asked: list[str] = []
    found = rebuilt(model, asked=asked)
    assert asked == ["dense/kernel"]
    assert [slot.path for slot in slots.walk({None: found}).slots] == [
        slot.path for slot in slots.walk({None: model}).slots
    ]


def test_a_model_from_the_middle_of_another_shares_its_calls() -> None:
    inputs = keras.Input((3,), name="in")
    hidden = keras.layers.Dense(3, name="first")(inputs)
    outputs = keras.layers.Dense(2, name="last")(hidden)
    whole, end = keras.Model(inputs, outputs), keras.Model(hidden, outputs)
    first, second, *_ = rebuilder({"all": whole, "end": end}).run()
    assert first.get_layer("last") is second.get_layer("last")
    calls = [len(model.get_layer("last")._inbound_nodes) for model in (whole, first)]
    assert calls[0] == calls[1]
    assert np.array_equal(copied(second, end)(X), end(X))


# --- facts ----------------------------------------------------------------------------------------------


def test_names_and_paths_come_back_whatever_names_are_taken() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), Wraps(keras.layers.Dense(3))])
    found = rebuilt(model)
    before, after = (slots.walk({None: m}).objects for m in (model, found))
    assert [getattr(o.value, "name", None) for o in after] == [getattr(o.value, "name", None) for o in before]
    assert [getattr(o.value, "path", None) for o in after] == [getattr(o.value, "path", None) for o in before]


def test_what_was_built_is_built_and_what_was_not_is_not() -> None:
    holder = Parent(name="parent")
    holder.spare = keras.layers.Dense(3, name="spare")
    model = keras.Sequential([keras.Input((3,)), holder])
    found = rebuilt(model)
    assert [getattr(o.value, "built", None) for o in slots.walk({None: found}).objects] == [
        getattr(o.value, "built", None) for o in slots.walk({None: model}).objects
    ]
    assert not rebuilt(keras.Sequential([keras.layers.Dense(3)])).built


def test_a_build_with_several_shapes_is_repeated() -> None:
    class Two(keras.layers.Layer):
        def build(self, a_shape: Any, b_shape: Any) -> None:
            self.w = self.add_weight(shape=(a_shape[-1], b_shape[-1]))

        def call(self, a: Any, b: Any) -> Any:
            return keras.ops.matmul(a, self.w) + b

    class Model(keras.Model):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.two = Two(name="two")

        def call(self, a: Any, b: Any) -> Any:
            return self.two(a, b)

    CUSTOM.update(Two=Two, Model=Model)
    model = Model(name="model")
    model(X, np.ones((2, 5), "float32"))
    found = rebuilt(model)
    assert tuple(found.two.w.shape) == (3, 5)
    assert found.built
