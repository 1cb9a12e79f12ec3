"""Builds the site as `make docs` does, follows its links, and looks at its pages in a browser."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

import tiedio
from tests import browser

ROOT = Path(__file__).resolve().parents[1]
SIZES = ((390, 844), (1280, 900))
# Made by Sphinx beside the pages; nobody is led there by a link but from the search box and the menu.
GENERATED = {"genindex.html", "search.html", "py-modindex.html"}
# Modules whose public names are documented; those that an unfinished tiedio lacks are asked for once they are there.
MODULES = ("tiedio", "tiedio.testing", "tiedio.callbacks")


@dataclass
class Html(HTMLParser):
    """What a page refers to: links of `a`, all that is fetched to show it, and its anchors."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.anchors |= {told[name] for name in ("id", "name") if name in told}
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        elif tag == "link" and told.get("rel") not in ("index", "search", "next", "prev", "canonical"):
            self.fetched.append(told["href"])
        self.fetched += [told["src"]] if "src" in told else []

    @classmethod
    def of(cls, path: Path) -> Html:
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        return page


@dataclass(frozen=True)
class Site:
    folder: Path
    warnings: str
    pages: dict[str, Html]

    def target(self, page: str, link: str) -> tuple[Path, str] | None:
        """The file and the anchor that a link leads to; `None` for one that leads out."""
        if urlparse(link).scheme or link.startswith("//"):
            return None
        path, anchor = urldefrag(link)
        file = self.folder / page if not path else (self.folder / page).parent / unquote(path).partition("?")[0]
        return file.resolve(), unquote(anchor)


def tree(folder: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    html, told = folder / "html", folder / "warnings.txt"
    before = tree(ROOT / "docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-E", "-q", "-b", "html", "-w", str(told)]
    done = subprocess.run(
        [*command, "-d", str(folder / "doctrees"), str(ROOT / "docs"), str(html)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert tree(ROOT / "docs") == before, "the build writes into the repository"
    pages = {path.relative_to(html).as_posix(): Html.of(path) for path in sorted(html.rglob("*.html"))}
    return Site(html, told.read_text(encoding="utf-8"), pages)


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    """The site on a server of this machine: the search reads pages in a way that browsers do not allow for files."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the method's argument
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site.folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_the_build_has_no_warning_and_a_page_for_every_document(site: Site) -> None:
    assert site.warnings == ""
    documents = {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert documents <= site.pages.keys()


def test_every_page_is_reached_from_the_first(site: Site) -> None:
    seen, waiting = set(), ["index.html"]
    while waiting:
        page = waiting.pop()
        if page in seen or page not in site.pages:
            continue
        seen.add(page)
        for link in site.pages[page].links:
            target = site.target(page, link)
            if target is not None and target[0].is_relative_to(site.folder):
                waiting.append(target[0].relative_to(site.folder).as_posix())
    assert site.pages.keys() - GENERATED - seen == set()


def test_every_link_and_image_leads_to_something(site: Site) -> None:
    broken = []
    for page, html in site.pages.items():
        for link in html.links + html.fetched:
            target = site.target(page, link)
            if target is None:
                continue
            file, anchor = target
            known = site.pages.get(file.relative_to(site.folder).as_posix()) if file.exists() else None
            if not file.exists() or (anchor and known is not None and anchor not in known.anchors):
                broken.append(f"{page}: {link}")
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(site: Site) -> None:
    fetched = {f"{page}: {link}" for page, html in site.pages.items() for link in html.fetched}
    assert [one for one in sorted(fetched) if re.search(r": ([a-z]+:)?//", one)] == []
    styles = "\n".join(path.read_text(encoding="utf-8") for path in site.folder.rglob("*.css"))
    assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", styles) == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_stands_on_a_page_of_the_api(site: Site, module: str) -> None:
    if module != "tiedio" and importlib.util.find_spec(module) is None:
        return
    anchors = set().union(*(html.anchors for page, html in site.pages.items() if page.startswith("api/")))
    names = [name for name in importlib.import_module(module).__all__ if not name.startswith("__")]
    public = {name for name in names if module == "tiedio" or name not in tiedio.__all__}
    assert {f"{module}.{name}" for name in public} - anchors == set()


@browser.needs_chromium
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_no_page_scrolls_sideways_or_is_blank(site: Site, address: str, width: int, height: int) -> None:
    wide, blank, outside = [], [], []
    with browser.page(width, height) as page:
        page.on(
            "request",
            lambda request: None if request.url.startswith((address, "data:")) else outside.append(request.url),
        )
        for name in site.pages:
            page.goto(f"{address}/{name}")
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                wide.append(name)
            # The page of the search has no title before something was asked for.
            if len(page.screenshot()) < 5_000 or not (name in GENERATED or page.locator("h1").first.is_visible()):
                blank.append(name)
    assert (wide, blank, outside) == ([], [], [])


@browser.needs_chromium
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_search_finds_a_page_by_a_word(address: str, width: int, height: int) -> None:
    with browser.page(width, height) as page:
        page.goto(f"{address}/index.html")
        if width < 1000:
            page.locator(".mobile-header label[for=__navigation]").first.click()
        box = page.locator("input.sidebar-search")
        box.fill("siamese")
        box.press("Enter")
        page.wait_for_selector("#search-results li a")
        found = page.locator("#search-results li a").all_inner_texts()
        assert "A siamese network" in found


@browser.needs_chromium
def test_code_has_a_button_that_copies_it_without_the_prompt(address: str) -> None:
    with browser.page(1280, 900) as page:
        page.goto(f"{address}/quickstart.html")
        assert page.locator("button.copybtn").count() >= 5
