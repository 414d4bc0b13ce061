"""A person who uses the review pages in a real browser: looks at what is shown, and uses mouse and keyboard."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from data_miner_dagster_tests.support.annotators import Corners, TrueBox, Truth, corrected

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = Path("/usr/bin/chromium")
_SHOWN = """() => [...document.querySelectorAll("#boxes .row")].map((row) => {
  const outline = document.querySelector(`g.a9s-annotation[data-id="${row.dataset.index}"] rect.a9s-inner`);
  const [x, y, width, height] = ["x", "y", "width", "height"].map((name) => Number(outline.getAttribute(name)));
  return [row.querySelector(".name").textContent, [x, y, x + width, y + height]];
})"""


@contextmanager
def browser_page(**settings: Any) -> Iterator["Page"]:
    """Yield a page in headless Chromium. A script error on the page fails the test."""
    if not CHROMIUM.exists():
        pytest.skip("Debian's chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"], timeout=120_000
        )
        page = browser.new_context(viewport={"width": 1400, "height": 900}, **settings).new_page()
        page.set_default_timeout(90_000)  # a busy machine is not a failure
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
        yield page
        browser.close()
    assert errors == [], errors


class CarefulPerson:
    """A person who corrects every frame of a queue to match what is really on it, and counts the gestures."""

    def __init__(self, page: "Page", truth: Truth) -> None:
        self.page = page
        self.gestures: Counter[str] = Counter()
        self._truth = truth

    def review_all(self) -> int:
        """Review frame after frame until the page says that nothing is left, and return the number of frames."""
        self.page.wait_for_url("**/queues/**")  # the login page redirects there
        number, before = 0, ""
        while (frame_id := self._next_frame(before)) is not None:
            self._correct(self._truth[frame_id])
            self._press("Space")
            number, before = number + 1, frame_id
        self.wait_until_saved()
        return number

    def wait_until_saved(self) -> None:
        """Wait until the server has acknowledged every answer."""
        self.page.wait_for_function("() => document.getElementById('saving').textContent === 'Saved'")

    def _next_frame(self, before: str) -> str | None:
        self.page.wait_for_function(
            """(before) => !document.getElementById("empty").hidden
            || (document.body.dataset.frame ?? before) !== before""",
            arg=before,
        )
        frame_id: str | None = self.page.evaluate(
            "document.getElementById('empty').hidden ? document.body.dataset.frame : null"
        )
        return frame_id

    def _correct(self, truth: list[TrueBox] | Any) -> None:
        shown = [(name, tuple(corners)) for name, corners in self.page.evaluate(_SHOWN)]
        left = corrected(shown, truth)
        kept = {box.number for box in left}
        for number, (_, corners) in enumerate(shown):
            if number not in kept:
                self.page.locator("#boxes .row").nth(number).click(position={"x": 20, "y": 12})
                self.gestures["click"] += 1
                self._press("n")
            elif moved := next((box for box in left if box.number == number and box.is_moved), None):
                self._drag_box(corners, moved.corners)
        for box in left:
            if box.number is None:
                self._draw(box.corners, box.class_name)

    def _drag_box(self, corners: Corners, to: Corners) -> None:
        middle = (corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2
        target = (to[0] + to[2]) / 2, (to[1] + to[3]) / 2
        x, y = self._on_screen(middle)
        self.page.mouse.click(x, y)  # selects the box
        self.gestures["click"] += 1
        self.page.locator(".a9s-shape-handle").wait_for()
        self._drag(middle, target)
        self.page.keyboard.press("Escape")
        self.gestures["key"] += 1

    def _draw(self, corners: Corners, class_name: str) -> None:
        self._drag(corners[:2], corners[2:])
        choice = self.page.locator("#picker button", has_text=re.compile(rf"^\d  {re.escape(class_name)}$"))
        choice.wait_for()  # a person would also wait until the choice appears
        digit = choice.inner_text().partition(" ")[0]
        self._press(digit)

    def _drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*self._on_screen(start))
        mouse.down()
        mouse.move(*self._on_screen(end), steps=4)
        mouse.up()
        self.gestures["drag"] += 1

    def _press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.gestures["key"] += 1

    def _on_screen(self, point: tuple[float, float]) -> tuple[float, float]:
        left, top, scale = self.page.evaluate(
            """() => { const image = document.querySelector("#picture img"), shown = image.getBoundingClientRect();
            return [shown.left, shown.top, shown.width / image.naturalWidth]; }"""
        )
        return left + point[0] * scale, top + point[1] * scale
