"""Every variable and object of a model has one path that is structural, injective and the same every time."""

from __future__ import annotations

import unicodedata
from collections import deque, namedtuple
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiedio import slots
from tiedio.errors import ModelError

ODD_NAMES = [
    "", "%empty", "..", ".", ".x", "%2Ex", "x", "%2F", "%252F", "/", "a/b", "a%2Fb", "\\", "%5C", "\n", "%0A", ":0",
    "@x", "%40x", "#x", "%23x", "0", "%30", "00", "0x", "²", "፩", "\x1369", "%1369", "é", "e\u0301", " ", "\u200b",
    "\ud800", "a b", "a.b", "a@b", "a#b", "\t", "\x00", "\x7f", "@node", "@optimizer", "_x",
]  # fmt: skip
# What the escaping itself is made of, and characters whose numbers read like it.
HOSTILE = st.text(st.sampled_from("%/\\.@#0123456789ABCDEFemptyx\x00\x13\x17\x18\n፩០᠐²①٣é\u0301"), max_size=8)
Pair = namedtuple("Pair", ["left", "right"])


class Plain:
    """An object of no library."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Holder(keras.layers.Layer):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(name="holder")
        for name, value in attributes.items():
            setattr(self, name, value)


def variable() -> Any:
    return keras.Variable([0.0])


def dense(name: str, units: int = 1) -> Any:
    layer = keras.layers.Dense(units, name=name)
    layer.build((None, 1))
    return layer


def paths(*roots: Any, **named: Any) -> list[str]:
    given: dict[Any, Any] = dict(named) if named else {None: roots[0]}
    return [slot.path for slot in slots.walk(given).slots]


def leaves(owner: Any) -> list[slots.Member]:
    return [member for member in slots.members(owner) if slots.is_variable(member.value)]


# --- names --------------------------------------------------------------------------------------------


def test_no_two_odd_names_become_one_segment() -> None:
    segments = {name: slots.escape(name) for name in ODD_NAMES}
    assert sorted(segments.values()) == sorted(set(segments.values())), segments


@given(one=st.text(max_size=8) | HOSTILE, other=st.text(max_size=8) | HOSTILE)
def test_two_names_become_two_segments(one: str, other: str) -> None:
    assert (slots.escape(one) == slots.escape(other)) is (one == other)


def test_a_digit_of_another_script_is_not_taken_for_a_control_character() -> None:
    for digit in "፩០᠐":
        number = f"{ord(digit):04X}"
        assert slots.escape(digit) != slots.escape(chr(int(number[:2], 16)) + number[2:])


@given(name=st.text(st.characters(exclude_categories=[])) | HOSTILE)
def test_a_segment_is_neither_empty_nor_marked_nor_more_than_one(name: str) -> None:
    segment = slots.escape(name)
    assert segment
    assert "/" not in segment
    assert "\\" not in segment
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in segment)
    assert segment[0] not in ".@#0123456789"


def test_a_name_that_harms_nobody_reads_as_it_is() -> None:
    names = ["dense", "conv2d_1", "_x", "a b", "a.b", "a@b", "block1", "é", ":0"]
    assert [slots.escape(name) for name in names] == names


def test_a_layer_of_any_legal_name_has_a_slot_of_its_own() -> None:
    names = [name for name in ODD_NAMES if "/" not in name and name != "\ud800"]
    hidden = inputs = keras.Input((1,), name="in")
    for name in names:
        hidden = keras.layers.Dense(1, name=name)(hidden)
    expected = [f"{slots.escape(name)}/{weight}" for name in names for weight in ("kernel", "bias")]
    assert paths(keras.Model(inputs, hidden)) == expected


def test_a_path_does_not_follow_the_variables_own_path() -> None:
    layer = dense("d")
    layer.kernel._path = "drifted"
    assert paths(keras.Sequential([layer]))[0] == "d/kernel"


# --- structure ----------------------------------------------------------------------------------------


def test_a_layer_and_an_attribute_of_one_name_in_a_functional_model_are_two_places() -> None:
    class Named(keras.Model):
        pass

    inputs = keras.Input((1,))
    model = Named(inputs, keras.layers.Dense(1, name="dense")(inputs))
    model.dense = dense("other")
    assert paths(model) == ["dense/kernel", "dense/bias", ".dense/kernel", ".dense/bias"]


def test_a_layer_named_like_an_attribute_of_its_neighbor_keeps_its_own_path() -> None:
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, name=".dense")(inputs))
    model.dense = dense("other")
    assert len(set(paths(model))) == 4


@pytest.mark.parametrize("inside", ["a layer", "a plain object"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda v: [v, [v, v]], ["x/0", "x/1/0", "x/1/1"]),
        (lambda v: (v, (v,)), ["x/0", "x/1/0"]),
        (lambda v: deque([v, v]), ["x/0", "x/1"]),
        (lambda v: {"a": v, "0": v, 0: v, "#%30": v, None: v, (1, "k"): v},
         ["x/#%30", "x/#(1, 'k')", "x/#None", "x/%23%2530", "x/%30", "x/a"]),
        (lambda v: Pair(v, [v]), ["x/0", "x/1/0"]),
        (lambda v: Plain(b=v, a=[v]), ["x/a/0", "x/b"]),
    ],
    ids=["list", "tuple", "deque", "dict", "namedtuple", "plain object"],
)  # fmt: skip
def test_a_place_in_a_container_is_told_by_index_key_or_attribute(
    value: Callable[[Any], Any], expected: list[str], inside: str
) -> None:
    content = value(variable())
    if inside == "a layer":
        assert sorted(paths(Holder(x=content))) == expected
    else:
        assert sorted(paths(Holder(x=Plain(x=content)))) == [f"x/{path}" for path in expected]


def test_a_layer_in_a_tuple_is_found_at_its_index() -> None:
    layers = (dense("a"), dense("b"))
    assert paths(Holder(x=layers)) == ["x/0/kernel", "x/0/bias", "x/1/kernel", "x/1/bias"]


def test_an_integer_key_and_the_same_key_as_a_string_are_two_places() -> None:
    assert len(set(paths(Holder(x={0: variable(), "0": variable(), "#0": variable(), "#%30": variable()})))) == 4


def test_two_keys_that_read_alike_are_refused() -> None:
    class Key:
        def __repr__(self) -> str:
            return "a key"

    with pytest.raises(ModelError, match="cannot be told apart") as caught:
        paths(Holder(x=Plain(y={Key(): variable(), Key(): variable()})))
    assert caught.value.remedy


def test_layers_of_a_set_are_told_by_name_in_one_order() -> None:
    layers = [dense(name) for name in ("c", "a", "b")]
    assert [m.segment for m in slots.members(Holder(x=set(layers)))] == ["x/a", "x/b", "x/c"]


def test_two_layers_of_one_name_in_a_set_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be told apart"):
        list(slots.members(Holder(x={dense("a"), dense("a")})))


def test_a_private_weight_is_shown_by_the_property_that_users_know() -> None:
    assert [m.segment for m in slots.members(dense("d"))] == ["kernel", "bias"]
    assert vars(dense("d"))["_kernel"] is not None


def test_a_weight_that_only_keras_lists_has_a_slot_too() -> None:
    layer = Holder()
    layer.add_weight(shape=(1,), name="hidden")
    assert paths(layer) == ["@trainable_variables/0"]


def test_a_live_variable_in_the_graph_is_a_slot_of_the_call() -> None:
    inputs = keras.Input((1,))
    source = dense("d")
    hidden = source(inputs)
    outputs = keras.ops.matmul(keras.ops.matmul(hidden, source.kernel), source.kernel)
    found = slots.walk({None: keras.Model(inputs, outputs)})
    assert [slot.path for slot in found.by_variable()[0]] == [
        "d/kernel", "@node/matmul/0/args/1", "@node/matmul_1/0/args/1",
    ]  # fmt: skip


def test_each_root_is_the_first_segment_and_a_shared_layer_is_walked_once() -> None:
    shared = dense("s")
    walk = slots.walk({"one": keras.Sequential([shared]), "two/2": keras.Sequential([shared])})
    assert [slot.path for slot in walk.slots] == ["one/s/kernel", "one/s/bias"]
    found = next(found for found in walk.objects if found.value is shared)
    assert found.paths == ("one/s", "two%2F2/s")


def test_one_model_under_two_root_names_is_one_object() -> None:
    model = keras.Sequential([dense("s")])
    walk = slots.walk({"a": model, "b": model})
    assert walk.objects[0].paths == ("a", "b")


def test_what_is_nearest_to_the_root_names_a_thing() -> None:
    deep = dense("deep")
    outer = Holder(a=Holder(x=deep), b=deep)
    assert paths(outer) == ["b/kernel", "b/bias"]


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "a", "b"]])
def test_the_order_in_which_attributes_were_set_does_not_matter(order: list[str]) -> None:
    holder = Holder()
    for name in order:
        setattr(holder, name, {key: variable() for key in order})
    assert paths(holder) == [f"{a}/{b}" for a in "abc" for b in "abc"]


def test_bookkeeping_of_keras_is_no_place() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    assert slots.own_attributes(model) == {}
    assert paths(model) == ["dense/kernel", "dense/bias"]


# --- cycles and depth ---------------------------------------------------------------------------------


def test_a_cycle_through_layers_ends() -> None:
    one, other = Holder(w=variable()), Holder(w=variable())
    one.other, other.other = other, one
    assert paths(one) == ["w", "other/w"]


def test_a_cycle_through_plain_objects_ends() -> None:
    one, other = Plain(w=variable()), Plain(w=variable())
    vars(one).update(next=other, itself=one)
    vars(other).update(next=one)
    assert paths(Holder(x=one)) == ["x/next/w", "x/w"]


def test_a_list_that_holds_itself_ends() -> None:
    ring: list[Any] = [variable()]
    ring.append(ring)
    assert paths(Holder(x=Plain(ring=ring))) == ["x/ring/0"]


def test_plain_objects_that_all_know_each_other_are_not_walked_along_every_way() -> None:
    peers = [Plain(w=variable()) for _ in range(7)]
    for peer in peers:
        vars(peer)["others"] = [other for other in peers if other is not peer]
    assert len(paths(Holder(x=peers))) < 1000


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), lambda x: {"k": x}, lambda x: Plain(next=x)])
def test_two_thousand_levels_do_not_overflow(wrap: Callable[[Any], Any]) -> None:
    value: Any = variable()
    for _ in range(2000):
        value = wrap(value)
    (member,) = leaves(Holder(x=Plain(deep=value)))
    assert member.segment.count("/") == 2001
    assert member.value is slots.get(Holder(x=Plain(deep=value)), member.steps)


def test_two_thousand_layers_inside_each_other_do_not_overflow() -> None:
    inner = Holder(w=variable())
    for _ in range(2000):
        outer = Holder()
        outer.__dict__["x"] = inner  # Keras itself would recurse
        inner = outer
    assert [path.count("/") for path in paths(inner)] == [2000]


# --- get, put, locate ---------------------------------------------------------------------------------

STRUCTURES = st.recursive(
    st.just(None),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3).map(tuple),
        st.dictionaries(HOSTILE | st.integers(-2, 20), inner, min_size=1, max_size=3),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
        st.dictionaries(st.sampled_from(["a", "b", "_c"]), inner, min_size=1, max_size=2).map(lambda d: Plain(**d)),
    ),
    max_leaves=6,
)  # fmt: skip


def filled(structure: Any) -> Any:
    if structure is None:
        return variable()
    if isinstance(structure, Plain):
        return Plain(**{name: filled(item) for name, item in vars(structure).items()})
    if isinstance(structure, dict):
        return {key: filled(item) for key, item in structure.items()}
    if isinstance(structure, Pair):
        return Pair(*map(filled, structure))
    return type(structure)(map(filled, structure))


@given(structure=STRUCTURES)
def test_what_is_put_at_a_place_is_got_there_and_nowhere_else(structure: Any) -> None:
    owner = Holder(x=Plain(y=filled(structure)))
    before = leaves(owner)
    assert len({member.segment for member in before}) == len(before)
    for n, member in enumerate(before):
        assert slots.get(owner, member.steps) is member.value
        assert slots.locate(owner, member.segment.split("/")) == member.steps
        fresh = variable()
        slots.put(owner, member.steps, fresh)
        after = leaves(owner)
        assert [m.segment for m in after] == [m.segment for m in before]
        for k, (old, new) in enumerate(zip(before, after, strict=True)):
            assert new.value is (fresh if k == n else old.value)
        slots.put(owner, member.steps, member.value)


def test_every_kind_of_step_leads_to_what_it_names() -> None:
    inputs = keras.Input((1,), name="in")
    first = dense("first")
    model = keras.Model(inputs, keras.ops.matmul(first(inputs), first.kernel))
    sequential = keras.Sequential([keras.Input((1,)), dense("only")])
    holder = Holder(members={dense("a"), dense("b")}, listed=[variable()], keyed={"k": variable()})
    holder.add_weight(shape=(1,))
    kinds = set()
    for owner in (model, sequential, holder, first):
        for member in slots.members(owner):
            assert slots.get(owner, member.steps) is member.value
            kinds |= {kind for kind, _ in member.steps}
    assert kinds == {"attribute", "index", "key", "member", "operation", "layer", "node", "store"}


def test_a_variable_in_a_call_of_the_graph_is_replaced_in_the_graph() -> None:
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.ops.matmul(inputs, dense("d").kernel))
    (slot,) = slots.walk({None: model}).slots
    fresh = keras.Variable([[5.0]])
    slots.put(model, slot.steps, fresh)
    assert slots.walk({None: model}).slots[0].variable is fresh
    assert model(keras.ops.ones((1, 1))).numpy().item() == 5.0


def test_a_member_of_a_set_is_replaced_by_its_name() -> None:
    old, new, other = dense("a"), dense("a"), dense("b")
    holder = Holder(x={old, other})
    slots.put(holder, (("attribute", "x"), ("member", "a")), new)
    assert {id(member) for member in holder.x} == {id(new), id(other)}


def test_an_attribute_of_a_built_layer_is_replaced_without_opening_its_tracker() -> None:
    layer = dense("d")
    fresh = keras.Variable([[2.0]])
    slots.put(layer, (("attribute", "_kernel"),), fresh)
    assert layer.kernel is fresh
    assert layer._tracker.locked


@pytest.mark.parametrize(
    "steps",
    [
        (("attribute", "nowhere"),),
        (("attribute", "x"), ("index", 7)),
        (("attribute", "x"), ("key", "k")),
        (("attribute", "x"), ("index", 0), ("attribute", "y"), ("attribute", "z")),
        (("store", "nothing"),),
        (("operation", 0),),
        (("node", 0), ("attribute", "args")),
        (("layer", 0),),
    ],
    ids=lambda steps: ".".join(kind for kind, _ in steps),
)
def test_a_place_that_is_not_there_is_missing_and_no_error(steps: tuple[slots.Step, ...]) -> None:
    assert slots.get(Holder(x=[variable()]), steps) is slots.MISSING


def test_a_place_whose_container_is_missing_cannot_be_set() -> None:
    with pytest.raises(ModelError, match="no such place"):
        slots.put(Holder(), (("attribute", "x"), ("index", 0)), variable())


def test_a_graph_takes_no_other_operation() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(ModelError, match="another operation"):
        slots.put(model, (("layer", 1),), dense("d"))


@pytest.mark.parametrize("segments", [["x", "5", "deep"], ["@nowhere", "0"], ["w", "x"]])
def test_a_path_that_leads_nowhere_is_not_located(segments: list[str]) -> None:
    assert slots.locate(Holder(x=[variable()], w=variable()), segments) is None
