"""Strategies for users: what they draw is valid, shrinks to little, and prints as code that runs by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import tiedio
from tiedio.testing import assert_round_trip, assert_same_ties, optimizers, tied_models, ties
from tiedio.testing.plugin import RoundTrip
from tiedio.testing.strategies import BuiltModel, Recipe, build, code_of, features, recipes
from tiedio.testing.strategies_ties import DrawnTie
from tiedio.testing.zoo_base import floats, share

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
DRAWS = settings(SLOW, derandomize=True, database=None, phases=[Phase.generate], print_blob=False)
SHRINKS = settings(SLOW, derandomize=True, database=None, phases=[Phase.generate, Phase.shrink], max_examples=300)


def run(code: str) -> dict[str, Any]:
    """What a script leaves behind, run in a Keras that has named nothing yet."""
    keras.utils.clear_session(free_memory=False)
    names: dict[str, Any] = {"__name__": "printed"}
    exec(compile(code, "printed.py", "exec"), names)
    return names


@settings(DRAWS, max_examples=30)
@given(recipe=recipes())
def test_the_code_of_a_drawn_model_builds_the_very_model(
    recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("code")
    keras.utils.clear_session(free_memory=False)
    built = build(recipe)
    made = run(built.code)
    assert_same_ties(built.model, made["model"])
    tiedio.save(built.model, folder / "built.safetensors")
    tiedio.save(made["model"], folder / "made.safetensors")
    assert (folder / "built.safetensors").read_bytes() == (folder / "made.safetensors").read_bytes()
    for what in ("inputs",) if built.targets is None else ("inputs", "targets"):
        pairs = zip(
            keras.tree.flatten([_flat(getattr(built, what))]), keras.tree.flatten([_flat(made[what])]), strict=False
        )
        assert all(np.array_equal(one, other) for one, other in pairs)


def _flat(data: Any) -> Any:
    return list(getattr(data, "args", [data]))


@settings(DRAWS, max_examples=10)
@given(built=tied_models())
def test_the_code_is_read_by_someone(built: BuiltModel) -> None:
    assert built.code.startswith("import keras\nimport numpy as np\n")
    assert max(map(len, built.code.splitlines())) < 400
    assert "Recipe" not in built.code


def test_a_failing_example_shrinks_to_a_script_of_a_few_lines() -> None:
    smallest = find(recipes(), lambda one: "tie across layers" in features(one), settings=SHRINKS)
    lines = code_of(smallest).splitlines()
    assert len(lines) <= 18, "\n".join(lines)
    start = next(number for number, line in enumerate(lines) if "set_random_seed" in line)
    model = [line for line in lines[start + 1 :] if "rng" not in line and not line.startswith(("for ", " "))]
    assert len(model) <= 7, "\n".join(lines)
    made = run(code_of(smallest))
    assert len(tiedio.find_ties(made["model"])) == 1


def test_hypothesis_prints_the_code_of_a_failing_model() -> None:
    @settings(SHRINKS, report_multiple_bugs=False)
    @given(built=tied_models())
    def no_ties(built: BuiltModel) -> None:
        assert "tie across layers" not in features(built.recipe)

    with pytest.raises(AssertionError) as caught:
        no_ties()
    printed = [one for one in caught.value.__notes__ if one.startswith("# This script builds the example:")]
    assert len(printed) == 1
    assert len(tiedio.find_ties(run(printed[0])["model"])) == 1


def trained_by(optimizer: Any) -> Any:
    one, two = keras.layers.Dense(4, name="one"), keras.layers.Dense(4, name="two")
    model = keras.Sequential([keras.Input((4,)), one, two])
    share(two, "_kernel", one)
    model.compile(optimizer, "mse", run_eagerly=True)
    for _ in range(2):
        model.train_on_batch(floats(2, 4), floats(2, 4, seed=1))
    return model


@settings(SLOW)
@given(optimizer=optimizers())
def test_a_drawn_optimizer_trains_and_comes_back(optimizer: Any, round_trip: RoundTrip) -> None:
    model = trained_by(optimizer)
    assert all(np.isfinite(value).all() for value in model.get_weights())
    round_trip(model, floats(2, 4), floats(2, 4, seed=1), second=False)


@pytest.fixture(scope="module")
def drawn_optimizers() -> list[Any]:
    found: list[Any] = []

    @settings(DRAWS, max_examples=400)
    @given(optimizer=optimizers())
    def collect(optimizer: Any) -> None:
        found.append(optimizer)

    collect()
    return found


def test_every_optimizer_and_every_setting_is_drawn(drawn_optimizers: list[Any]) -> None:
    every = {name for name in vars(keras.optimizers) if isinstance(getattr(keras.optimizers, name), type)}
    every &= {type(one).__name__ for one in drawn_optimizers} | {
        name for name in every if issubclass(getattr(keras.optimizers, name), keras.optimizers.Optimizer)
    }
    assert Counter(type(one).__name__ for one in drawn_optimizers).keys() == every - {"Optimizer"}
    single = [one for one in drawn_optimizers if hasattr(one, "use_ema") and not hasattr(one, "inner_optimizer")]
    told = ("use_ema", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "gradient_accumulation_steps")
    for setting in (*told, "loss_scale_factor"):
        assert any(getattr(one, setting) for one in single), setting
    rates = {type(getattr(one, "_learning_rate", None)).__name__ for one in single}
    assert rates >= {"ExponentialDecay", "PiecewiseConstantDecay", "CosineDecay", "PolynomialDecay", "InverseTimeDecay"}


def test_hypothesis_prints_an_optimizer_as_code_and_shrinks_it() -> None:
    @settings(SHRINKS, report_multiple_bugs=False)
    @given(optimizer=optimizers())
    def no_averages(optimizer: Any) -> None:
        assert not getattr(optimizer, "use_ema", False)

    with pytest.raises(AssertionError) as caught:
        no_averages()
    script, example = caught.value.__notes__[:2]
    made = run(script)["optimizer"]
    assert type(made) is keras.optimizers.SGD
    assert made.use_ema
    assert script.endswith("optimizer = keras.optimizers.SGD(learning_rate=0.01, use_ema=True)")
    assert "SGD(learning_rate=0.01, use_ema=True)" in example


@settings(SLOW)
@given(tie=ties())
def test_a_drawn_tie_is_accepted_and_comes_back(tie: DrawnTie, round_trip: RoundTrip) -> None:
    model = tie.apply()
    ((name, given_name),) = tie.weights.items()
    held, source = getattr(tie.target, name), getattr(tie.source, given_name)
    assert held is source if tie.view is None else held.source is source
    round_trip(model, second=False, training=False)


@settings(DRAWS, max_examples=8)
@given(tie=ties())
def test_a_drawn_tie_prints_as_the_call_that_makes_it(tie: DrawnTie) -> None:
    made = run("\n".join([tie.code, "import tiedio", repr(tie)]))
    assert_same_ties(tie.apply(), made["model"])


def build_pair() -> Any:
    """An embedding and a projection that fit when one of them is transposed, in a model with a nested one."""
    ids = keras.Input((3,), dtype="int32")
    hidden = keras.layers.Embedding(5, 4, name="words")(ids)
    inner = keras.Sequential([keras.Input((3, 4)), keras.layers.Dense(4, use_bias=False, name="mix")], name="inner")
    return keras.Model(ids, keras.layers.Dense(5, use_bias=False, name="out")(inner(hidden)))


@settings(DRAWS, max_examples=20)
@given(data=st.data())
def test_ties_of_a_given_model_are_those_that_fit(data: st.DataObject) -> None:
    model = build_pair()
    tie = data.draw(ties(model))
    assert {tie.target.name, tie.source.name} == {"words", "out"}
    assert tie.view == tiedio.transpose()
    tie.apply()
    assert len(tiedio.find_ties(model)) == 1
    again = build_pair()
    exec(repr(tie), {"tiedio": tiedio, "model": again})
    assert_same_ties(model, again)


def test_a_model_whose_weights_do_not_go_together_is_told_so() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, use_bias=False)])
    with pytest.raises(ValueError, match="no two weights of the model go together"):
        ties(model)


def test_ties_across_the_models_of_a_dict_are_drawn(tmp_path: Path) -> None:
    models = {
        name: keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, use_bias=False)]) for name in ("left", "right")
    }
    tie = find(ties(models), lambda one: one.view is None, settings=SHRINKS)
    assert repr(tie) == "tiedio.tie(model['right'].layers[0], model['left'].layers[0], weights=['kernel'])"
    assert_round_trip(tie.apply(), folder=tmp_path)
