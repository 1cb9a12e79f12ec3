"""Keras's global state is what a rebuild needs inside the block, and what it was afterwards."""

from __future__ import annotations

import random

import keras
import numpy as np

from tiedio import keras_api, session


def test_random_state_is_as_it_was_after_the_block() -> None:
    keras.utils.set_random_seed(3)
    expected = [random.random(), np.random.rand(), keras.random.normal((2,)).numpy().tolist()]
    keras.utils.set_random_seed(3)
    with session.untouched_randomness():
        random.random()
        np.random.rand()
        keras.random.normal((2,))
    assert [random.random(), np.random.rand(), keras.random.normal((2,)).numpy().tolist()] == expected


def test_a_global_generator_that_was_not_there_is_not_there_after_the_block() -> None:
    keras.utils.clear_session(free_memory=False)
    assert keras_api.get_global(keras_api.GLOBAL_SEED_GENERATOR) is None
    with session.untouched_randomness():
        keras.random.normal((2,))
        assert keras_api.get_global(keras_api.GLOBAL_SEED_GENERATOR) is not None
    assert keras_api.get_global(keras_api.GLOBAL_SEED_GENERATOR) is None


def test_automatic_names_go_on_where_they_were_after_the_block() -> None:
    assert keras.layers.Dense(1).name == "dense"
    with session.untouched_names():
        assert keras.layers.Dense(1).name == "dense_1"
        assert keras.layers.Conv2D(1, 1).name == "conv2d"
    assert keras.layers.Dense(1).name == "dense_1"
    assert keras.layers.Conv2D(1, 1).name == "conv2d"


def test_an_open_name_scope_does_not_reach_into_the_block() -> None:
    with keras.name_scope("outside"), session.outside_name_scopes():
        assert keras.Variable([1.0], name="v").path == "v"


def test_global_settings_are_set_for_the_block_only() -> None:
    with session.settings("float16", "channels_first"):
        assert (keras.config.floatx(), keras.config.image_data_format()) == ("float16", "channels_first")
    assert (keras.config.floatx(), keras.config.image_data_format()) == ("float32", "channels_last")


def test_the_dtype_policy_is_set_for_the_block_only() -> None:
    policy = keras_api.policy_of(keras.layers.Dense(1, dtype="mixed_float16"))
    with session.default_policy(policy):
        assert keras.layers.Dense(1).dtype_policy.name == "mixed_float16"
    assert keras.layers.Dense(1).dtype_policy.name == "float32"


def test_versions_name_keras_backend_and_what_constructors_read() -> None:
    found = session.versions()
    assert found["keras"] == keras.__version__
    assert found["backend"] == "tensorflow"
    assert (found["floatx"], found["image_data_format"]) == ("float32", "channels_last")
