"""The page, in a real browser without a network: keys, buttons, export."""

import base64
from pathlib import Path

import pytest

from data_miner_dagster.export.calibration_page import Question, render_calibration_page

ROOT = Path("/data/my pets")
CHROMIUM = Path("/usr/bin/chromium")
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


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")
def test_page__answers_by_key_and_button_are_exported(tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    path = tmp_path / "questions.html"
    questions = [question("local-a/000000"), question("local-a/000001"), question("local-b/000007", "keep")]
    path.write_text(render_calibration_page("pets", "axis", questions, plan="p", root=ROOT), encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(offline=True, accept_downloads=True)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        assert page.locator("#progress").inner_text() == "1 of 3 answered"
        page.keyboard.press("d")  # the first frame has the focus, and hands it on
        page.locator("figure").nth(1).locator("button.keep").click()
        assert page.locator("#progress").inner_text() == "3 of 3 answered"
        assert not page.locator("#next").is_visible()
        with page.expect_download() as download:
            page.locator("#export").click()
        expect(page.locator("#next code")).to_have_text(
            "data-miner calibrate pets --root '/data/my pets' --answers answers.csv --precision 0.9"
        )
        expect(page.locator("#next")).to_be_visible()
        exported = Path(download.value.path()).read_text()
        # Answers survive, in this tab and in the next. A loaded browser hands its storage on in its own time, so
        # the page is opened until it shows them; answers that were never stored would not appear at all.
        for tab in (page, context.new_page()):
            for _ in range(30):
                tab.goto(path.as_uri())
                if tab.locator("#progress").inner_text() == "3 of 3 answered":
                    break
                tab.wait_for_timeout(500)
            expect(tab.locator("figure").first).to_have_attribute("data-answer", "drop")
        # two tabs that answer by turns keep each other's answers
        page.locator("figure").nth(0).locator("button.keep").click()
        expect(tab.locator("figure").first).to_have_attribute("data-answer", "keep", timeout=15_000)
        tab.locator("figure").nth(1).locator("button.drop").click()
        expect(page.locator("figure").nth(1)).to_have_attribute("data-answer", "drop", timeout=15_000)
        assert page.locator("figure").first.get_attribute("data-answer") == "keep"
        browser.close()
    assert exported == "frame_id,answer\nlocal-a/000000,drop\nlocal-a/000001,keep\nlocal-b/000007,keep\n"
    assert errors == []
