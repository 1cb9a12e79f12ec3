"""The plan makes each object and each call once, after what it needs; what another's code makes is found there."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiedio import configs
from tiedio.structure import plan


def entry(kind: str = "object", held: Any = (), needs: Any = (), **more: Any) -> dict[str, Any]:
    """An entry that is held by the owners `held` and whose config names the objects `needs`."""
    made = {"kind": kind, "held": [[owner, [["attribute", "x"]]] for owner in held], **more}
    if kind == "object":
        return {"config": [{"$object": n} for n in needs], **made}
    return {"layers" if kind == "sequential" else "operations": list(needs), **made}


def planned(objects: list[dict[str, Any]], nodes: list[dict[str, Any]] | None = None, roots: Any = (0,)) -> list[Any]:
    for one, places in zip(objects, plan.found_at(objects), strict=True):
        one["found_at"] = places
    return plan.order(objects, nodes or [], roots)


# --- where a child is found -----------------------------------------------------------------------------


def test_a_child_that_the_config_does_not_name_is_found_at_its_owner() -> None:
    assert plan.found_at([entry(), entry(held=[0])]) == [[], [0]]


def test_a_child_that_the_config_names_is_made() -> None:
    assert plan.found_at([entry(needs=[1]), entry(held=[0])]) == [[], []]


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_layer_of_a_graph_is_made(kind: str) -> None:
    assert plan.found_at([entry(kind, needs=[1]), entry(held=[0])]) == [[], []]


def test_a_child_of_a_child_that_is_found_is_found_there() -> None:
    assert plan.found_at([entry(), entry("sequential", held=[0], needs=[2]), entry(held=[1])]) == [[], [0], [0]]


def test_a_child_in_two_owners_is_found_at_the_one_that_makes_it() -> None:
    assert plan.found_at([entry(needs=[2]), entry(held=[0]), entry(held=[0, 1])]) == [[], [0], [1]]


def test_a_child_is_never_found_at_what_it_needs_itself() -> None:
    assert plan.found_at([entry(), entry(held=[0], needs=[0])]) == [[], []]
    assert plan.found_at([entry(), entry(held=[0], needs=[2]), entry(needs=[0])]) == [[], [], []]


def test_two_that_hold_each_other_both_come_and_the_root_after_what_it_names() -> None:
    steps = planned([entry(needs=[1]), entry(held=[0, 2]), entry(held=[1])])
    assert sorted(n for _, n in steps) == [0, 1, 2]
    assert steps.index(["make", 1]) < steps.index(["make", 0])


# --- the order ------------------------------------------------------------------------------------------


def test_what_a_config_names_is_made_first() -> None:
    assert planned([entry(needs=[2]), entry(), entry(needs=[1])], roots=[0]) == [["make", 1], ["make", 2], ["make", 0]]


def test_an_owner_comes_before_what_is_found_there() -> None:
    assert planned([entry(), entry(held=[2]), entry(held=[0])]) == [["make", 0], ["find", 2], ["find", 1]]


def test_all_roots_are_made() -> None:
    assert planned([entry(), entry(), entry()], roots=[2, 0]) == [["make", 2], ["make", 0], ["make", 1]]


def test_calls_of_a_graph_come_before_its_model_and_in_order() -> None:
    objects = [entry("functional", needs=[1, 2], nodes=[0, 1, 2]), entry(held=[0]), entry(held=[0])]
    nodes: list[dict[str, Any]] = [
        {"operation": 1, "call": 0, "input": True, "args": [], "kwargs": {}},
        {"operation": 2, "call": 1, "args": [{"$tensor": [2, 0]}], "kwargs": {}},
        {"operation": 2, "call": 0, "args": [{"$tensor": [0, 0]}], "kwargs": {}},
    ]
    assert planned(objects, nodes) == [
        ["make", 1], ["make", 2], ["call", 0], ["call", 2], ["call", 1], ["make", 0],
    ]  # fmt: skip


def test_a_call_waits_for_the_earlier_calls_of_its_operation() -> None:
    objects = [entry("functional", needs=[1], nodes=[1]), entry(held=[0])]
    nodes = [{"operation": 1, "call": n, "args": [], "kwargs": {}} for n in range(3)]
    assert [n for kind, n in planned(objects, nodes) if kind == "call"] == [0, 1, 2]


def test_an_object_in_an_argument_of_a_call_is_made_before_the_call() -> None:
    objects = [entry("functional", needs=[1], nodes=[0]), entry(held=[0]), entry()]
    nodes = [{"operation": 1, "call": 0, "args": [{"$keras": {"$object": 2}}], "kwargs": {}}]
    steps = planned(objects, nodes)
    assert steps.index(["make", 2]) < steps.index(["call", 0])


def test_a_call_that_a_model_makes_itself_comes_after_that_model() -> None:
    objects = [entry("sequential", needs=[1]), entry(held=[0])]
    assert planned(objects, [{"operation": 1, "call": 0, "model": 0, "position": 1}]) == [
        ["make", 1], ["make", 0], ["call", 0],
    ]  # fmt: skip


def test_a_child_of_a_layer_that_is_called_is_found_after_the_first_call() -> None:
    objects = [entry("functional", needs=[1], nodes=[0, 1]), entry(held=[0]), entry(held=[1])]
    nodes = [{"operation": 1, "call": n, "args": [], "kwargs": {}} for n in range(2)]
    steps = planned(objects, nodes)
    assert steps.index(["call", 0]) < steps.index(["find", 2])


def nested(*first: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Models 0, 1, ... each inside the one before, which all call the last object: the numbers of their first calls."""
    shared = len(first)
    objects = [
        entry("sequential", held=[n - 1] if n else [], needs=[shared, *([n + 1] if n + 1 < shared else [])])
        for n in range(shared)
    ]
    objects.append(entry(held=list(range(shared))))
    for one, places in zip(objects, plan.found_at(objects), strict=True):
        one["found_at"] = places
    return objects, [{"operation": shared, "call": call, "model": n, "position": 1} for n, call in enumerate(first)]


def test_models_that_are_built_within_another_one_are_made_after_it() -> None:
    objects, nodes = nested(0, 1, 2)
    assert plan.built_within(objects, nodes) == {1: 0, 2: 0}
    steps = plan.order(objects, nodes, (2, 0))
    assert [n for kind, n in steps if kind == "make"] == [3, 0, 1, 2]


def test_a_model_that_was_built_before_the_one_around_it_is_made_before_it() -> None:
    objects, nodes = nested(2, 1, 0)
    assert plan.built_within(objects, nodes) == {}
    assert [n for kind, n in plan.order(objects, nodes, (0,)) if kind == "make"] == [3, 2, 1, 0]


def test_what_lies_between_is_built_within_the_outermost_too() -> None:
    objects, nodes = nested(0, 1, 2)
    assert plan.built_within(objects, [nodes[0], nodes[2]]) == {1: 0, 2: 0}


def test_owners_that_hold_each_other_do_not_hang_the_plan() -> None:
    objects, nodes = nested(0, 1)
    objects[0].update(found_at=[0], held=[[1, [["attribute", "x"]]]])
    objects[1].update(found_at=[0], held=[[0, [["attribute", "x"]]]])
    assert plan.built_within(objects, nodes) == {1: 0}


# --- any table ------------------------------------------------------------------------------------------


@st.composite
def tables(draw: st.DrawFn, held: bool) -> list[dict[str, Any]]:
    """Objects that name only later ones, as a walk from the roots numbers them."""
    count = draw(st.integers(1, 8))
    objects = []
    for n in range(count):
        later = draw(st.sets(st.integers(n + 1, count - 1), max_size=3)) if n + 1 < count else set()
        owners = draw(st.lists(st.integers(0, count - 1), max_size=2)) if n and held else []
        kind = draw(st.sampled_from(["object", "object", "sequential", "functional"]))
        objects.append(entry(kind, owners, sorted(later)))
    return objects


@st.composite
def calls(draw: st.DrawFn, count: int) -> list[dict[str, Any]]:
    """Calls of these objects, each on outputs of earlier ones."""
    nodes: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(0, 6))):
        operation = draw(st.integers(0, count - 1))
        tensors = draw(st.lists(st.integers(0, len(nodes) - 1), max_size=2)) if nodes else []
        call = sum(node["operation"] == operation for node in nodes)
        nodes.append({"operation": operation, "call": call, "args": [{"$tensor": [k, 0]} for k in tensors]})
    return nodes


def assert_in_order(steps: list[Any], objects: list[dict[str, Any]], nodes: list[dict[str, Any]]) -> None:
    when = {("call" if kind == "call" else "object", n): position for position, (kind, n) in enumerate(steps)}
    for kind, n in steps:
        if kind == "find":
            owners = [objects[n]["held"][position][0] for position in objects[n]["found_at"]]
            assert any(when["object", owner] < when["object", n] for owner in owners)
        elif kind == "call":
            earlier = [k for k in range(n) if nodes[k]["operation"] == nodes[n]["operation"]]
            earlier += [k for k, _ in configs.references(nodes[n]["args"], "$tensor")]
            assert when["object", nodes[n]["operation"]] < when["call", n]
            assert all(when["call", k] < when["call", n] for k in earlier)
        else:
            assert all(when["object", other] < when["object", n] for other in plan._needs(objects[n]))


@given(table=tables(held=True), data=st.data())
def test_every_object_and_every_call_comes_once(table: Any, data: st.DataObject) -> None:
    nodes = data.draw(calls(len(table)))
    steps = planned(table, nodes)
    assert sorted(n for kind, n in steps if kind != "call") == list(range(len(table)))
    assert sorted(n for kind, n in steps if kind == "call") == list(range(len(nodes)))
    assert planned(table, nodes) == steps


def goes_in_circles(table: list[dict[str, Any]]) -> bool:
    """Whether something that is found at its owner is needed, by way of others, by that very owner."""
    before = [
        plan._needs(one) | {one["held"][position][0] for position in places}
        for one, places in zip(table, plan.found_at(table), strict=True)
    ]
    return any(plan._reaches(n, n, before) for n in range(len(table)))


@given(table=tables(held=True))
def test_every_object_comes_after_what_it_needs(table: Any) -> None:
    steps = planned(table)
    if not goes_in_circles(table):  # the rebuilder makes those in the order in which it meets them
        assert_in_order(steps, table, [])


@given(table=tables(held=False), data=st.data())
def test_every_call_comes_after_what_it_needs(table: Any, data: st.DataObject) -> None:
    nodes = data.draw(calls(len(table)))
    assert_in_order(planned(table, nodes), table, nodes)


def test_two_that_name_each_other_still_come_once() -> None:
    objects = [entry(needs=[1]), entry(needs=[0])]
    assert sorted(planned(objects)) == [["make", 0], ["make", 1]]


@pytest.mark.parametrize("kind", ["object", "sequential"])
def test_three_thousand_levels_neither_overflow_nor_take_long(kind: str) -> None:
    count = 3000
    named = [entry(kind, held=[n - 1] if n else [], needs=[n + 1] if n + 1 < count else []) for n in range(count)]
    start = time.process_time()
    assert planned(named) == [["make", n] for n in reversed(range(count))]
    found = [entry(held=[n - 1] if n else []) for n in range(count)]
    assert planned(found) == [["make", 0], *(["find", n] for n in range(1, count))]
    assert time.process_time() - start < 10
