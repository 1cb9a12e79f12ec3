"""Looks at pages in the Chromium that the system has, driven by Playwright."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Where `TIEDIO_NEED_BROWSER` is set, as in CI, a test without a browser fails instead of being skipped.
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("TIEDIO_NEED_BROWSER"), reason="needs Chromium"
)

_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@functools.cache
def _browser() -> Browser:
    """One for all tests of a process: to start it takes longer than most of them."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "TIEDIO_NEED_BROWSER is set, and there is no Chromium"
    playwright = sync_playwright().start()
    atexit.register(playwright.stop)
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
    atexit.register(browser.close)
    return browser


@contextmanager
def page(width: int, height: int, *, dark: bool = False, scripts: bool = True) -> Iterator[Page]:
    """Open an empty page, which knows nothing of those before; a script's error on it fails the test.

    Args:
        width: of the window, in CSS pixels.
        height: of the window, in CSS pixels.
        dark: whether the reader likes dark pages.
        scripts: whether the browser runs scripts.
    """
    context = _browser().new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
    )
    try:
        opened = context.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        yield opened
        assert errors == []
    finally:
        context.close()
