"""The thread that writes: one action at a time, its errors, and that it stands back."""

from __future__ import annotations

import gc
import os
import sys
import threading

import pytest

from tiedio.callbacks.background import Background


def fail() -> None:
    raise OSError("no space")


def test_an_error_is_raised_once_by_whoever_asks_first() -> None:
    background = Background()
    background.start(fail)
    with pytest.raises(OSError, match="no space"):
        background.wait()
    background.wait()
    background.check()
    assert background.is_done()


def test_an_action_begins_when_the_one_before_is_done_and_not_after_an_error() -> None:
    background, opened, done = Background(), threading.Event(), list[str]()

    def first() -> None:
        opened.wait(60)
        done.append("first")

    background.start(first)
    assert not background.is_done()
    opened.set()
    background.start(lambda: done.append("second"))
    background.wait()
    assert done == ["first", "second"]
    background.start(fail)
    with pytest.raises(OSError, match="no space"):
        background.start(lambda: done.append("third"))
    assert done == ["first", "second"]


def test_an_error_that_nobody_asked_for_is_told_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    background, opened = Background(), threading.Event()

    def fail_late() -> None:
        opened.wait(60)
        fail()

    background.start(fail_late)
    thread = background._thread
    del background
    gc.collect()
    assert capsys.readouterr().err == ""
    opened.set()
    assert thread is not None
    thread.join()
    gc.collect()
    assert "OSError: no space" in capsys.readouterr().err


def test_what_was_done_is_let_go() -> None:
    background, seen = Background(), set[int]()

    class Large:
        def __del__(self) -> None:
            seen.add(1)

    def use(_large: Large) -> None:
        pass

    large = Large()
    background.start(lambda large=large: use(large))  # type: ignore[misc]
    del large
    background.wait()
    assert seen == {1}


@pytest.mark.skipif(sys.platform != "linux", reason="only there do threads have priorities of their own")
def test_the_thread_stands_back_and_training_does_not() -> None:
    background, found = Background(), list[int]()
    before = os.getpriority(os.PRIO_PROCESS, 0)
    background.start(lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
    background.wait()
    assert found == [min(19, before + 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
