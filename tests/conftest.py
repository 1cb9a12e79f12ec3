"""What every test stands on: a quiet, deterministic backend, and a Keras that remembers no other test."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

# Before anything imports Keras, which reads them once.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["KERAS_BACKEND"] = "tensorflow"

import pytest
from hypothesis import HealthCheck, settings

SEED = 20240501

# An example builds, saves and loads a model: it has no deadline, and drawing is allowed to take its time.
_COMMON = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("default", _COMMON, max_examples=20)
# The same examples every time, so that a red run is red again on the next machine.
settings.register_profile("ci", _COMMON, max_examples=40, derandomize=True, database=None)
settings.register_profile("nightly", _COMMON, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


class KerasState:
    """A plugin rather than a fixture of this folder: the docstring examples in tiedio/ need it as well."""

    @pytest.fixture(autouse=True)
    def _own_folder(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a docstring's example write its files where nobody minds."""
        if isinstance(request.node, pytest.DoctestItem):
            monkeypatch.chdir(request.getfixturevalue("tmp_path"))

    @pytest.fixture(autouse=True)
    def _fresh_keras(self) -> Iterator[None]:
        """Start from Keras's first automatic name and from one seed, and leave no global behind."""
        import keras

        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(SEED)
        yield
        keras.config.set_floatx("float32")
        keras.config.set_epsilon(1e-7)
        keras.config.set_image_data_format("channels_last")
        custom = keras.saving.get_custom_objects()
        for name, value in list(custom.items()):
            # A class of one test must not be found by the next; a class of a module is registered only once.
            if "<locals>" in getattr(value, "__qualname__", ""):
                del custom[name]
        gc.collect()  # a file that was left open is reported here, at its test
        # What TensorFlow keeps of functions that it traced is never let go: the next collection need not look at it.
        gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(KerasState(), "tiedio-keras-state")
    if not config.pluginmanager.has_plugin("tiedio"):  # where the package is not installed, nor its entry point known
        from tiedio.testing import plugin

        config.pluginmanager.register(plugin, "tiedio")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Import the backend once in each process that runs tests, and make its results repeatable bitwise."""
    if session.config.getoption("dist", "no") != "no":
        return  # this one only hands out tests to its workers
    import tensorflow as tf

    # A training step is compared bitwise: no op may take another path, and no sum another order. With this
    # set, Keras turns XLA off even for jit_compile=True; a test that is about XLA switches it off around itself.
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    import keras

    keras.utils.set_random_seed(SEED)  # modules make models while they are collected


def pytest_collection_finish() -> None:
    """Let the collection after each test look at what the test made, and not at TensorFlow and all the tests."""
    gc.collect()
    gc.freeze()
