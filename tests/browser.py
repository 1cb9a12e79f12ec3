"""Pages as a browser shows them: the system's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("TIEDIO_NEED_BROWSER"), reason="needs Chromium"
)
"""Skips a test where there is no Chromium, unless TIEDIO_NEED_BROWSER says that there has to be one."""

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@contextlib.contextmanager
def browser_page(width: int, height: int, *, dark: bool = False, scripts: bool = True) -> Iterator[Page]:
    """A page of a headless browser.

    Args:
        width: of the window, in pixels.
        height: of the window, in pixels.
        dark: whether the reader likes dark pages.
        scripts: whether the browser runs scripts.
    """
    assert CHROMIUM is not None, "TIEDIO_NEED_BROWSER is set, and there is no Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                java_script_enabled=scripts,
            )
            yield context.new_page()
        finally:
            browser.close()
