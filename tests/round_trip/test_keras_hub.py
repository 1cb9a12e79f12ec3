"""KerasHub's backbones, layers and tasks come back: what they share, their dropouts' random state, the next step."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import keras
import numpy as np
import pytest

import tiedio
from tiedio.errors import ModelError
from tiedio.testing import zoo_hub
from tiedio.testing.plugin import RoundTrip

pytestmark = [
    # Two layers of T5 say so at every call.
    pytest.mark.filterwarnings("ignore:.*was passed an input with a mask attached to it:UserWarning"),
    # The matrix that a backbone would use for its outputs has no gradient while only the backbone is trained.
    pytest.mark.filterwarnings("ignore:Gradients do not exist for variables:UserWarning"),
]


@pytest.mark.parametrize("name", zoo_hub.case_names(), ids=lambda name: f"{name} loads as one object")
def test_survives(name: str, round_trip: RoundTrip) -> None:
    case = zoo_hub.build_case(name)
    loaded = round_trip(case.model, case.inputs, case.targets)
    for model in (case.model, loaded):
        for group in case.same(model):
            assert len(group) > 1
            for one, other in pairwise(group):
                assert one is other
        for group in case.apart(model):
            for one, other in combinations(group, 2):
                assert one is not other


def test_the_random_state_of_every_dropout_comes_back(tmp_path: Path) -> None:
    case = zoo_hub.build_case("gpt2_backbone")
    states = [v for v in case.model.variables if v.path.endswith("seed_generator_state")]
    tiedio.save(case.model, tmp_path / "gpt2.safetensors")
    loaded = tiedio.load(tmp_path / "gpt2.safetensors")
    again = [v for v in loaded.variables if v.path.endswith("seed_generator_state")]
    assert len(states) == len(again) == 7
    assert [np.array(v).tobytes() for v in states] == [np.array(v).tobytes() for v in again]
    fresh = type(case.model).from_config(case.model.get_config())
    assert [np.array(v).tobytes() for v in fresh.variables[-7:]] != [np.array(v).tobytes() for v in states]


TEXTS = ["a ab", "b! a"]


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_a_task_comes_back_with_its_tokenizer(name: str, tmp_path: Path) -> None:
    task = zoo_hub.task_with_words(name)
    tiedio.save(task, tmp_path / "task.safetensors")
    loaded = tiedio.load(tmp_path / "task.safetensors")
    tiedio.save(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "task.safetensors").read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    assert loaded.preprocessor.tokenizer is not task.preprocessor.tokenizer
    assert loaded.preprocessor.tokenizer.get_vocabulary() == task.preprocessor.tokenizer.get_vocabulary()
    ids, again = ([list(map(int, row)) for row in one.preprocessor.tokenizer(TEXTS)] for one in (task, loaded))
    assert ids == again
    before, after = (np.array(one(first_inputs(one))) for one in (task, loaded))
    assert before.tobytes() == after.tobytes()


def first_inputs(task: keras.Model) -> object:
    given = task.preprocessor(keras.ops.convert_to_tensor(TEXTS))
    return given[0] if isinstance(given, tuple) else given


def test_a_sampler_goes_on_where_it_was(tmp_path: Path) -> None:
    model = zoo_hub.build_case("gpt2_causal_lm_with_a_sampler_that_draws").model
    tiedio.save(model, tmp_path / "lm.safetensors")
    loaded = tiedio.load(tmp_path / "lm.safetensors")
    mine, theirs = (one.sampler.seed_generator.state for one in (model, loaded))
    assert mine is not theirs
    assert np.array(mine).tobytes() == np.array(theirs).tobytes()
    assert np.array(mine).tolist() != [3, 0]


def test_a_task_that_is_not_compiled_comes_back_so_though_its_constructor_compiles(tmp_path: Path) -> None:
    case = zoo_hub.build_case("bert_masked_lm_whose_head_is_the_embedding")
    tiedio.save(case.model, tmp_path / "task.safetensors")
    assert not tiedio.load(tmp_path / "task.safetensors", compile=False).compiled
    assert tiedio.load(tmp_path / "task.safetensors").compiled


class Notes(keras.Model):
    """Its own `compile` takes more than Keras's, and keeps it under another name."""

    def compile(self, factor: float, **arguments: object) -> None:
        super().compile(**arguments)
        self.by = factor


def test_an_argument_of_an_own_compile_that_the_model_does_not_hold_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((2,))
    model = Notes(inputs, keras.layers.Dense(1)(inputs))
    model.compile(2.0, optimizer="adam", loss="mse")
    with pytest.raises(ModelError, match=r"Notes\.compile takes factor, which the model does not hold"):
        tiedio.save(model, tmp_path / "notes.safetensors")
