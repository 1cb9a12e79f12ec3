"""Random models with sharing survive a round trip, and the strategy that draws them keeps its promises."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings

import tiedio
from tiedio.errors import ModelError
from tiedio.testing import assert_round_trip, strategies
from tiedio.testing.pairing import pair
from tiedio.testing.plugin import RoundTrip
from tiedio.testing.strategies import (
    FEATURES,
    Attach,
    BuiltModel,
    Call,
    Chain,
    Freeze,
    Graph,
    Layer,
    Recipe,
    Root,
    Tie,
    Untie,
    View,
    build,
    code_of,
    features,
    recipes,
    tied_models,
)
from tiedio.testing.strategies_build import change
from tiedio.testing.strategies_draw import ODD_NAMES
from tiedio.testing.strategies_facts import holdings, is_model, references, signature, slots, view_of
from tiedio.testing.strategies_slots import lookup
from tiedio.testing.strategies_table import KINDS, SHAPES

# Holds also where no profile is registered: an example builds, saves and loads a model several times over.
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same draws each time: what is said about them is about the strategy, not about luck.
DRAWS = settings(SLOW, max_examples=1000, derandomize=True, database=None, phases=[Phase.generate], print_blob=False)

# Hypothesis draws some recipes more than once; one that came back whole is not built again.
_came_back: set[Recipe] = set()


@SLOW
@given(recipe=recipes())
def test_random_models_come_back_as_they_were(recipe: Recipe, round_trip: RoundTrip) -> None:
    if recipe in _came_back:
        return
    note(code_of(recipe))
    built = build(recipe)
    round_trip(built.model, built.inputs, built.targets, training=built.trainable)
    _came_back.add(recipe)


def test_round_trip_of_a_random_model_notices_a_lost_tie(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = (Layer("dense"), Layer("dense"), Chain((0, 1)))
    built = build(Recipe(parts, (Root(2),), (Tie(((0, "kernel"), (1, "kernel"))),)))
    load = tiedio.load

    def load_untied(*args: Any, **kwargs: Any) -> Any:
        model = load(*args, **kwargs)
        change(Recipe(parts, (Root(2),), (Untie((1, "kernel")),)), model.layers)
        return model

    monkeypatch.setattr(tiedio, "load", load_untied)
    with pytest.raises(AssertionError, match="one variable in the original, but two in the loaded model"):
        assert_round_trip(built.model, inputs=built.inputs, training=False, folder=tmp_path_factory.mktemp("untied"))


@pytest.mark.parametrize("container", ["plain", "list", "dict"])
def test_a_variable_hung_on_a_model_by_hand_comes_back_or_is_refused(
    container: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    attach = Attach(1, (0, "kernel"), container)
    built = build(Recipe((Layer("dense"), Chain((0,))), (Root(1),), (attach,)))
    folder = tmp_path_factory.mktemp("hung")
    refused = ""
    try:
        assert_round_trip(built.model, inputs=built.inputs, training=False, folder=folder)
    except ModelError as error:
        refused = str(error)
    assert any(folder.iterdir()) != bool(refused)
    assert not refused or (container != "plain" and refused.startswith(".extra/"))


def drawn() -> list[Recipe]:
    found: list[Recipe] = []

    @DRAWS
    @given(recipe=recipes())
    def collect(recipe: Recipe) -> None:
        found.append(recipe)

    collect()
    return found


@pytest.fixture(scope="module")
def many() -> list[Recipe]:
    return drawn()


def test_every_feature_and_every_layer_is_drawn(many: list[Recipe]) -> None:
    counts = Counter(feature for recipe in many for feature in features(recipe))
    assert [name for name in (*FEATURES, *KINDS) if not counts[name]] == []
    assert set(counts) == {*FEATURES, *KINDS}


def test_most_recipes_differ(many: list[Recipe]) -> None:
    assert len(set(many)) > len(many) / 2


def test_the_printed_recipe_is_code_that_gives_it_back(many: list[Recipe]) -> None:
    for recipe in many:
        assert eval(repr(recipe), vars(strategies)) == recipe


def test_parts_refer_only_to_earlier_parts_and_all_are_needed(many: list[Recipe]) -> None:
    for recipe in many:
        needed = {root.part for root in recipe.roots}
        for number in reversed(range(len(recipe.parts))):
            assert number in needed
            below = references(recipe.parts, number)
            assert all(part < number for part in below)
            needed.update(below)
        assert all(is_model(recipe.parts[root.part]) for root in recipe.roots)


def test_ties_join_slots_of_one_shape_in_models_that_are_saved(many: list[Recipe]) -> None:
    for recipe in many:
        known = slots(recipe)
        for one in recipe.changes:
            if isinstance(one, View):
                slot, source = known[one.slot], known[one.source]
                assert view_of(one).result_shape(source.shape) == slot.shape
                assert not view_of(one).is_identity(source.shape)
                assert slot.dtype == source.dtype
                continue
            touched = one.slots if isinstance(one, Tie) else (one.slot,)
            assert len({(known[slot].shape, known[slot].dtype) for slot in touched}) == 1


def test_a_failing_example_shrinks_to_a_few_lines() -> None:
    failing: list[Recipe] = []

    @settings(DRAWS, phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False)
    @given(recipe=recipes())
    def no_tie_across_layers(recipe: Recipe) -> None:
        if "tie across layers" in features(recipe):
            failing.append(recipe)
            raise AssertionError

    with pytest.raises(AssertionError):
        no_tie_across_layers()
    smallest = failing[-1]
    assert len(smallest.parts) <= 5
    assert len(smallest.changes) == 1
    assert not smallest.freezes
    assert not smallest.inside
    assert repr(smallest).count("\n") <= 20


@SLOW
@given(recipe=recipes())
def test_building_twice_gives_the_same_structure_and_values(recipe: Recipe) -> None:
    first, second = build(recipe), build(recipe)
    found = pair(first.model, second.model)
    assert found.faults == []
    for a, b, place in found.items("variable"):
        assert np.array(a).tobytes() == np.array(b).tobytes(), place
        assert a.trainable == b.trainable, place
        assert np.isfinite(np.array(a)).all(), place


@SLOW
@given(built=tied_models())
def test_slots_hold_one_variable_exactly_where_the_recipe_says_so(built: BuiltModel) -> None:
    recipe = built.recipe
    expected = holdings(recipe)
    assert list(expected) == list(slots(recipe))
    for one in recipe.changes:
        if isinstance(one, Attach):
            path = {"plain": "extra", "list": "extra.0", "dict": "extra.weight"}[one.container]
            expected[one.part, path] = expected[one.slot]
    held = {slot: lookup(built.parts[slot[0]], slot[1]) for slot in expected}
    for slot, variable in held.items():
        for other, another in held.items():
            assert (variable is another) == (expected[slot] == expected[other]), (slot, other)
            if expected[slot].view is not None and expected[other].view is None:
                one_source = expected[slot].origin == expected[other].origin
                assert (variable.source is another) == one_source, (slot, other)
    for slot, variable in held.items():
        assert getattr(variable, "view", None) == expected[slot].view, slot


def test_drawn_models_print_as_code_that_builds_them() -> None:
    recipe = Recipe((Layer("dense"), Chain((0,))), (Root(1),))
    built = build(recipe)
    again = eval(repr(built), vars(strategies))
    assert again.recipe == recipe
    assert pair(built.model, again.model).faults == []


@pytest.mark.parametrize(("kind", "on"), [(kind, on) for kind, row in KINDS.items() for on in row.on])
def test_the_table_knows_the_variables_and_the_output_of_each_layer(kind: str, on: str) -> None:
    row = KINDS[kind]
    inside = {"rnn": "seq", "stacked_rnn": "seq", "time_distributed": "vec"}.get(kind, on)
    for wrapped in row.inner or ("",):
        inner: tuple[Layer, ...] = (Layer(wrapped, on=inside),) if wrapped else ()
        number = len(inner)
        parts = (*inner, Layer(kind, on=on, inner=0 if inner else None))
        values = tuple(range(row.arguments))
        graph = Graph((on,) * row.arguments, (Call(number, values),), (row.arguments,))
        recipe = Recipe((*parts, graph), (Root(number + 1),))
        built = build(recipe)
        assert built.model.output_shape[1:] == SHAPES[row.on[on]]
        assert signature(recipe.parts, number + 1) == ((on,) * row.arguments, (row.on[on],))
        listed = {}
        for (part, path), variable in slots(recipe).items():
            live = lookup(built.parts[part], path)
            assert tuple(live.shape) == variable.shape
            assert live.trainable == (variable.role == "weight")
            if variable.role != "seed":
                listed[id(live)] = live
        assert listed.keys() == {id(variable) for variable in built.model.weights}


@pytest.mark.parametrize("how", ["in_place", "attribute"])
def test_a_tie_in_place_keeps_the_order_of_weights_and_one_by_attribute_does_not(how: str) -> None:
    parts = (Layer("dense"), Layer("dense"), Chain((0, 1)))
    built = build(Recipe(parts, (Root(2),), (Tie(((0, "kernel"), (1, "kernel")), how=how),)))
    kernel, bias = built.parts[0].kernel, built.parts[1].bias
    expected = [kernel, bias] if how == "in_place" else [bias, kernel]
    assert [id(variable) for variable in built.parts[1].weights] == [id(variable) for variable in expected]


def test_a_tie_by_a_call_takes_along_what_holds_the_same_variable() -> None:
    parts = (Layer("dense"), Layer("dense"), Layer("dense"), Chain((0, 1, 2)))
    by_hand = Tie(((1, "kernel"), (2, "kernel")))
    recipe = Recipe(parts, (Root(3),), (by_hand, Tie(((0, "kernel"), (1, "kernel")), how="tied")))
    first, second, third, _ = build(recipe).parts
    assert first.kernel is second.kernel is third.kernel
    held = holdings(recipe)
    assert held[0, "kernel"] == held[1, "kernel"] == held[2, "kernel"]


@pytest.mark.parametrize(
    ("source", "slot", "view"),
    [
        ((0, "cell.kernel"), (1, "kernel"), ("slice", (0, 4), (-1, 4))),
        ((1, "kernel"), (2, "_output_dense.kernel"), ("reshape", (2, 2, -1))),
        ((2, "_output_dense.kernel"), (3, "_query_dense.kernel"), ("transpose", (2, 0, 1))),
    ],
    ids=["slice", "reshape", "transpose"],
)
def test_a_view_is_computed_from_the_slot_that_the_recipe_names(
    source: tuple[int, str], slot: tuple[int, str], view: tuple[Any, ...]
) -> None:
    attention = Layer("attention")
    steps = (Call(0, (0,)), Call(1, (1,)), Call(2, (1, 2)), Call(3, (2, 3)))
    parts = (Layer("lstm"), Layer("dense"), attention, attention, Graph(("seq",), steps, (4,)))
    one = View(slot, source, view)
    recipe = Recipe(parts, (Root(4),), (one,))
    built = build(recipe)
    live = lookup(built.parts[slot[0]], slot[1])
    assert live.source is lookup(built.parts[source[0]], source[1])
    assert np.array_equal(np.array(live), view_of(one).apply(np.array(live.source)))
    assert holdings(recipe)[slot] == (source, live.view)


def test_a_layer_frozen_late_was_trained_before_and_is_not_trained_any_more() -> None:
    parts = (Layer("dense"), Layer("narrow", on="flat"), Layer("flatten"), Chain((0, 2, 1)))
    compiled = strategies.Compile(steps=1, eager=False)
    started = build(Recipe(parts, (Root(3),)))
    built = build(Recipe(parts, (Root(3, compile=compiled),), freezes=(Freeze(0, when="late"),)))
    trained = built.parts[0].get_weights()
    assert not np.array_equal(trained[0], started.parts[0].get_weights()[0])
    built.model.train_on_batch(built.inputs, built.targets)
    assert [value.tobytes() for value in trained] == [value.tobytes() for value in built.parts[0].get_weights()]
    assert isinstance(built.model.optimizer, keras.optimizers.Adam)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_is_drawn_for_traced_models_trains_in_a_graph(name: str) -> None:
    inputs = keras.Input((3,))
    layer = keras.layers.Dense(3, name=name)
    model = keras.Model(inputs, layer(inputs), name=name)
    model.compile("adam", "mse", run_eagerly=False)
    model.train_on_batch(np.ones((2, 3), "float32"), np.ones((2, 3), "float32"))
