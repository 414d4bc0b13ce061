"""The page, in a real browser without a network: keys, buttons, export."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from data_miner_dagster.export.calibration_page import Question, render_calibration_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path("/data/my pets")
CHROMIUM = Path("/usr/bin/chromium")
STORE_KEY = "data-miner-calibrate-pets-p"
WRITE_STORAGE = f"""try {{ localStorage.setItem("{STORE_KEY}", '{{"local-b/000007": "drop"}}'); }} catch {{}}"""
READ_STORAGE = f"""JSON.parse(localStorage.getItem("{STORE_KEY}"))"""
DOT = (
    "data:image/gif;base64,"
    + base64.b64encode(
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    ).decode()
)


def question(frame_id: str, answer: str = "", *, image: str | None = DOT) -> Question:
    return Question(frame_id, image, "a <b>cat</b>", 1.5, answer)


def test_render_calibration_page__no_questions() -> None:
    assert "<figure" not in render_calibration_page("pets", "axis", [], plan="p", root=ROOT)


def test_render_calibration_page__foreign_text_is_escaped() -> None:
    page = render_calibration_page(
        "pets", "axis", [question('x"><script>alert(1)</script>', image=None)], plan="p", root=ROOT
    )
    assert "<script>alert" not in page
    assert "a &lt;b&gt;cat&lt;/b&gt;" in page
    assert "cannot be shown" in page


@pytest.fixture
def page(tmp_path: Path) -> Iterator["Page"]:
    """The page of three questions, one of them answered before, open in Chromium without a network."""
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    path = tmp_path / "questions.html"
    questions = [question("local-a/000000"), question("local-a/000001"), question("local-b/000007", "keep")]
    path.write_text(render_calibration_page("pets", "axis", questions, plan="p", root=ROOT), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True, accept_downloads=True).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        yield page
        browser.close()
    assert errors == []


def answers(page: "Page") -> list[str | None]:
    return [figure.get_attribute("data-answer") for figure in page.locator("figure").all()]


@pytest.mark.browser
def test_page__answers_by_key_and_button_are_exported(page: "Page") -> None:
    assert page.locator("#progress").inner_text() == "1 of 3 answered"
    page.keyboard.press("d")  # the first frame has the focus, and hands it on
    page.locator("figure").nth(1).locator("button.keep").click()
    assert page.locator("#progress").inner_text() == "3 of 3 answered"
    assert not page.locator("#next").is_visible()
    with page.expect_download() as download:
        page.locator("#export").click()
    exported = Path(download.value.path()).read_text()
    assert exported == "frame_id,answer\nlocal-a/000000,drop\nlocal-a/000001,keep\nlocal-b/000007,keep\n"
    assert page.locator("#next").is_visible()
    assert (
        page.locator("#next code").inner_text()
        == "data-miner calibrate pets --root '/data/my pets' --answers answers.csv --precision 0.9"
    )


@pytest.mark.browser
def test_page__answers_are_kept_merged_and_shown(page: "Page") -> None:
    """What is ours: to write what was answered, to read it when opened, and to follow what other tabs write.

    How soon a browser hands its storage from one process to the next is its own affair, and on a busy machine no
    test can wait for it; so all of this is seen from within one page.
    """
    if page.evaluate(f"() => {{ {WRITE_STORAGE} return {READ_STORAGE}; }}") != {"local-b/000007": "drop"}:
        pytest.skip("this browser keeps no storage for pages from disk")
    assert answers(page) == ["", "", "keep"]
    page.keyboard.press("d")
    assert page.evaluate(READ_STORAGE) == {"local-a/000000": "drop", "local-b/000007": "drop"}  # another's is kept
    assert not page.locator("#unkept").is_visible()
    page.evaluate("dispatchEvent(new StorageEvent('storage'))")
    assert answers(page) == ["drop", "", "drop"]

    page.add_init_script(WRITE_STORAGE)  # runs before the page's own script: as if an earlier visit had written it
    page.reload()
    assert answers(page)[2] == "drop"
    assert page.locator("#progress").inner_text().endswith("of 3 answered")


@pytest.mark.browser
def test_page__a_browser_that_keeps_no_answers_is_said(page: "Page") -> None:
    page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
    page.reload()
    assert not page.locator("#unkept").is_visible()
    page.keyboard.press("k")
    assert page.locator("#unkept").is_visible()
    assert answers(page)[0] == "keep"
