"""What tiedio's callbacks rely on in Keras's: these tests fail when Keras changes it."""

from __future__ import annotations

import keras
import pytest

from tiedio import keras_api


def test_the_base_of_the_callbacks_that_watch_a_metric_is_the_one_of_keras() -> None:
    assert issubclass(keras_api.MonitorCallback, keras.callbacks.Callback)
    assert issubclass(keras.callbacks.ModelCheckpoint, keras_api.MonitorCallback)


@pytest.mark.parametrize(("mode", "better"), [("min", 1.0), ("max", 3.0)])
def test_it_takes_the_arguments_and_gives_the_answers_that_are_relied_on(mode: str, better: float) -> None:
    callback = keras_api.MonitorCallback("loss", mode, 2.0)
    assert (callback.monitor, callback.mode, callback.best, callback.monitor_op) == ("loss", mode, 2.0, None)
    assert callback._is_improvement(5.0, None)
    callback._set_monitor_op()
    assert callback.monitor_op is (keras.ops.less if mode == "min" else keras.ops.greater)
    assert callback._is_improvement(better, 2.0)
    assert not callback._is_improvement(2.0, 2.0)


def test_a_message_goes_where_those_of_keras_go(capsys: pytest.CaptureFixture[str]) -> None:
    keras_api.print_message("saved")
    assert capsys.readouterr().out == "saved\n"
