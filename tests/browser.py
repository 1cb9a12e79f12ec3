"""Looks at pages in the Chromium that the system has, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Where `TIEDIO_NEED_BROWSER` is set, as in CI, a test without a browser fails instead of being skipped.
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("TIEDIO_NEED_BROWSER"), reason="needs Chromium"
)

_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@contextmanager
def page(width: int, height: int, *, dark: bool = False) -> Iterator[Page]:
    """Open an empty page, in a window of this size in CSS pixels; a script's error on it fails the test."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "TIEDIO_NEED_BROWSER is set, and there is no Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        try:
            opened = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
            )
            errors: list[str] = []
            opened.on("pageerror", lambda error: errors.append(str(error)))
            yield opened
            assert errors == []
        finally:
            browser.close()
