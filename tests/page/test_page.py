"""The page about a file: its text, and what a browser makes of it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from playwright.sync_api import Dialog, Page

import tiedio
from tests import browser
from tests.browser import needs_chromium
from tests.hostile.good import Parts
from tiedio.demo.models import two_convolutions
from tiedio.page import page_of, write_page
from tiedio.page.writing import in_script

EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>\u2028@@DATA@@"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model = two_convolutions(2)
    model.optimizer.build(model.trainable_variables)
    tiedio.save(model, tmp_path / "tied.safetensors")
    return tmp_path / "tied.safetensors"


@pytest.fixture
def hostile(file: Path) -> Path:
    def forge(manifest: Any) -> None:
        manifest["versions"]["keras"] = EVIL
        manifest["custom"] = [EVIL]
        manifest["roots"][0]["name"] = EVIL
        for record in manifest["objects"]:
            record["class_name"] = EVIL
        manifest["objects"][2]["paths"].append("<img src=y onerror=alert(3)>")

    parts = Parts.of(file.read_bytes()).changed("manifest", forge)
    entries = {name.replace("scores", "<b onclick=alert(4)>"): entry for name, entry in parts.entries.items()}
    text = parts.metadata["tiedio.manifest"].replace("scores", "<b onclick=alert(4)>")
    forged = Parts({**parts.metadata, "tiedio.manifest": text}, entries, parts.data)
    file.write_bytes(forged.built())
    return file


@contextlib.contextmanager
def opened(page_file: Path, width: int = 1200, height: int = 900, **options: Any) -> Iterator[Page]:
    """The page in a browser; afterwards, it must have asked for nothing, said nothing, and opened no dialog."""
    seen: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    with browser.page(width, height, **options) as page:
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("dialog", dismiss)
        page.on("request", lambda request: seen.append(f"request: {request.url}"))
        page.goto(page_file.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        yield page
        page.wait_for_timeout(50)
    assert [one for one in seen if not one.startswith((f"request: {page_file.as_uri()}", "request: data:,"))] == []


def written(file: Path, **options: Any) -> Path:
    target = file.with_suffix(".html")
    write_page(file, target, **options)
    return target


def areas(page: Page) -> dict[str, float]:
    """The area of each rectangle, by what is said of it."""
    boxes = page.eval_on_selector_all(
        ".leaf",
        "all => all.map(e => [e.node.tensor.path, parseFloat(e.style.width) * parseFloat(e.style.height)])",
    )
    return {path: float(area) for path, area in boxes}


def test_the_page_is_one_file_without_addresses_and_the_same_each_time(file: Path) -> None:
    text = page_of(file)
    assert text == page_of(file)
    assert re.findall(r"(?:src|href)=\"?([^\"> ]+)", text.split("<script>")[0]) == ["data:,"]
    assert "http" not in text.replace('http-equiv="Content', "")
    assert "default-src 'none'" in text


def test_it_says_whether_the_bytes_were_compared(file: Path) -> None:
    assert "not compared; run tiedio verify" in page_of(file)
    assert "every byte is as it was written" in page_of(file, verify=True)
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(bytes(raw))
    with pytest.raises(tiedio.DamagedError):
        page_of(file, verify=True)


def test_nothing_in_the_file_ends_a_script_or_stands_for_a_part(hostile: Path) -> None:
    text = page_of(hostile)
    assert text.count("</script>") == 3
    assert "<!--" not in text
    assert "\u2028" not in text
    assert "<img" not in text
    data = re.search(r'id="data">(.*?)</script>', text, flags=re.DOTALL)
    assert data is not None
    assert EVIL in json.dumps(json.loads(data[1]), ensure_ascii=False)
    assert json.loads(in_script(json.dumps(EVIL))) == EVIL


def test_another_suffix_is_refused(file: Path) -> None:
    with pytest.raises(tiedio.PathError, match=r"\.html"):
        write_page(file, file.with_suffix(".pdf"))


def test_a_file_of_weights_only_has_a_page(tmp_path: Path) -> None:
    tiedio.save_weights(two_convolutions(2), tmp_path / "weights.safetensors")
    assert "none: weights only" in page_of(tmp_path / "weights.safetensors")


def test_a_page_is_written_without_keras(file: Path) -> None:
    code = (
        "import sys, tiedio.page\n"
        f"tiedio.page.write_page({str(file)!r}, {str(file.with_suffix('.html'))!r})\n"
        "assert not {'keras', 'tensorflow', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@needs_chromium
def test_the_treemap_has_a_rectangle_for_each_tensor_as_large_as_its_bytes(file: Path, tmp_path: Path) -> None:
    manifest = tiedio.inspect(file)
    with opened(written(file)) as page:
        found = areas(page)
        assert found.keys() == {tensor.name for tensor in manifest.tensors}
        sizes = dict(page.evaluate("tensors.map(one => [one.path, one.bytes])"))
        whole = sum(found.values())
        total = sum(sizes.values())
        for name, area in found.items():
            assert area / whole == pytest.approx(sizes[name] / total, rel=1e-3)
        image = page.screenshot(path=tmp_path / "page.png")
        assert len(image) > 20_000, "blank"
        assert (tmp_path / "page.png").read_bytes() == image


@needs_chromium
def test_a_click_zooms_in_and_the_crumbs_and_keys_lead_back(file: Path) -> None:
    with opened(written(file)) as page:
        everything = areas(page)
        page.locator(".leaf").first.click()
        inside = areas(page)
        assert 0 < len(inside) < len(everything)
        assert page.locator("#crumbs button").count() == 2
        page.locator("#crumbs button").first.click()
        assert areas(page) == everything
        page.locator(".leaf[tabindex='0']").focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        assert len(areas(page)) < len(everything)
        page.keyboard.press("Escape")
        assert areas(page) == everything


@needs_chromium
def test_search_finds_a_tensor_by_each_of_its_slots_and_marks_it(file: Path) -> None:
    with opened(written(file)) as page:
        page.fill("#search", "WIDE/kernel")
        page.wait_for_selector(".leaf.hit")
        assert page.eval_on_selector_all(".leaf.hit", "all => all.map(e => e.node.tensor.path)") == ["near/kernel"]
        assert page.locator("#ties mark").all_text_contents() == ["wide/kernel"]
        assert page.locator("#tensors tbody tr").count() == 1
        assert page.text_content("#found") == "1 of 14 tensors"


@needs_chromium
def test_the_table_is_sorted_by_a_click_on_its_heading(file: Path) -> None:
    with opened(written(file)) as page:
        first = page.locator("#tensors tbody tr td:first-child")
        assert first.first.text_content() == "scores/kernel"
        page.click("#tensors th button[data-key=text]")
        names = first.all_text_contents()
        assert names == sorted(names)
        page.click("#manifest summary")
        page.locator("#manifest pre", has_text="format").wait_for()  # no function: the page's policy forbids `eval`
        assert json.loads(page.text_content("#manifest pre") or "")["format"] == tiedio.inspect(file).format


@needs_chromium
def test_hostile_names_are_text(hostile: Path) -> None:
    with opened(written(hostile)) as page:
        assert page.locator("img").count() == 0
        assert page.locator("main b").count() == 0
        assert "<b onclick=alert(4)>/kernel" in (page.text_content("#tensors") or "")
        assert "<img src=y onerror=alert(3)>" in (page.text_content("#shared") or "")
        page.fill("#search", "<b onclick")
        page.wait_for_selector(".leaf.hit")
        assert page.locator("main b").count() == 0


@needs_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_does_not_scroll_sideways(file: Path, dark: bool) -> None:
    with opened(written(file), 390, 844, dark=dark) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(17, 24, 39)") is dark


@needs_chromium
def test_without_scripts_the_largest_tensors_are_listed(file: Path) -> None:
    target = written(file)
    with browser.page(800, 600, scripts=False) as page:
        page.goto(target.as_uri())
        assert "scores/kernel: 2.56 kB" in page.inner_text("noscript")


@needs_chromium
def test_a_file_of_many_tensors_stays_usable(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, name="d")])
    tiedio.save_weights(model, tmp_path / "many.safetensors")
    parts = Parts.of((tmp_path / "many.safetensors").read_bytes())
    document = parts.document("manifest")
    (variable,) = document["variables"]
    names = [f"d/w{n}" for n in range(10_000)]
    document["variables"] = [{**variable, "slots": [{"path": name}]} for name in names]
    (dense,) = (record for record in document["objects"] if record["path"] == "d")
    dense["orders"] = {"trainable_variables": names}
    entries = {
        name: {"dtype": "F32", "shape": [1, 1], "data_offsets": [4 * n, 4 * n + 4]} for n, name in enumerate(names)
    }
    many = Parts(parts.metadata, entries, bytes(4 * len(names)))
    (tmp_path / "many.safetensors").write_bytes(many.with_text("manifest", json.dumps(document)).built())
    target = written(tmp_path / "many.safetensors")
    assert target.stat().st_size < 4_000_000
    with opened(target) as page:
        assert page.locator(".leaf").count() == 10_000
        assert page.locator("#tensors tbody tr").count() == 200
        page.fill("#search", "w9999")
        page.wait_for_selector(".leaf.hit", state="attached")


@needs_chromium
def test_the_treemap_follows_its_box_also_where_the_window_stays(file: Path) -> None:
    with opened(written(file)) as page:
        page.evaluate("document.body.style.maxWidth = '400px'")
        page.wait_for_timeout(300)
        right = "Math.max(...[...document.querySelectorAll('.leaf')].map((leaf) => leaf.getBoundingClientRect().right))"
        assert page.evaluate(right) == pytest.approx(page.evaluate("map.getBoundingClientRect().right"), abs=1)
