"""Test what people do on the pages, in a real browser: keys, undo, an unreachable server, two people at once."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.support.faults import Rows, change_rows
from data_miner_dagster_tests.support.sample_project import build_project
from data_miner_dagster_tests.web.review.careful_person import browser_page
from data_miner_dagster_tests.web.review.serving import ReviewSite, served

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = [pytest.mark.browser, pytest.mark.slow(20)]

PROJECT = "cyclists"
FRAME = "files-aaa/000001"
"""A frame with a bicycle at .9, and with a person at .2, which is unsure."""
NUM_BOXES = 600


@pytest.fixture(scope="module")
def browser() -> Iterator["Page"]:
    with browser_page() as page:
        yield page


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ReviewSite]:
    with served(build_project(tmp_path / "root", releasing={"unsure": "hold"})) as running:
        yield running


def visit(browser: "Page", site: ReviewSite, page: str, who: str = "ann") -> "Page":
    """Open a page as a new visitor, whose session is separate from those of others."""
    assert browser.context.browser is not None
    context = browser.context.browser.new_context(viewport={"width": 1400, "height": 900})
    visitor = context.new_page()
    visitor.set_default_timeout(90_000)
    visitor.goto(site.link(who, f"/projects/{PROJECT}{page}"))
    visitor.wait_for_url(f"**/projects/{PROJECT}{page}")
    return visitor


def saved(page: "Page") -> None:
    page.wait_for_function("() => document.getElementById('saving').textContent === 'Saved'")


def said(platform: Platform) -> list[tuple[str, str, str | None]]:
    """Return (person, word, class name) of each verdict in force, from the catalog."""
    return [
        (verdict.who, verdict.word.value, verdict.final_class_name)
        for verdict in verdicts_in_force(platform.database, PROJECT)
    ]


def test_frame__everything_goes_by_keys(browser: "Page", site: ReviewSite) -> None:
    page = visit(browser, site, f"/frames/{FRAME}")
    page.wait_for_function("() => document.body.dataset.frame")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.locator("#help").wait_for(state="hidden")
    keys = page.keyboard
    for key in ("y", "n"):  # the bicycle is right, the person is wrong
        keys.press(key)
    saved(page)
    assert said(site.platform) == [("ann", "right", "bicycle"), ("ann", "wrong", None)]
    keys.press("u")
    saved(page)
    assert said(site.platform) == [("ann", "right", "bicycle")]
    keys.press("Control+z")
    saved(page)
    assert said(site.platform) == []
    keys.press("1")  # says that the bicycle is a person
    saved(page)
    assert said(site.platform) == [("ann", "other_class", "person")]
    keys.press("u")
    for key in ("m", "ArrowRight", "ArrowDown", "Shift+ArrowRight", "Enter"):
        keys.press(key)
    saved(page)
    (moved,) = verdicts_in_force(site.platform.database, PROJECT)
    assert moved.shown is not None
    assert moved.new_box is not None
    by = [new - old for new, old in zip(moved.new_box, moved.shown.box, strict=True)]
    assert by == pytest.approx([0.01, 0.01, 0.02, 0.01], abs=1e-5)
    for key in ("u", "d", "ArrowLeft", "Enter", "2"):
        keys.press(key)
    saved(page)
    (drawn,) = verdicts_in_force(site.platform.database, PROJECT)
    assert (drawn.word.value, drawn.final_class_name) == ("missing", "bicycle")
    assert drawn.final_box == pytest.approx((0.39, 0.4, 0.59, 0.6))
    page.context.close()


def test_frame__a_shifted_box_of_another_class_is_both(browser: "Page", site: ReviewSite) -> None:
    page = visit(browser, site, f"/frames/{FRAME}")
    page.wait_for_function("() => document.body.dataset.frame")
    for key in ("m", "ArrowRight", "Enter", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    page.keyboard.press("1")
    saved(page)
    assert sorted(said(site.platform)) == [("ann", "missing", "person"), ("ann", "wrong", None)]
    page.context.close()


def test_frame__all_labelled_with_more_boxes_than_one_request_may_hold(browser: "Page", tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root", releasing={"unsure": "hold"})

    def crowd(rows: Rows) -> None:
        bicycle = next(row for row in rows if row["frame_id"] == FRAME and row["class_name"] == "bicycle")
        at = rows.index(bicycle) + 1
        rows[at:at] = [{**bicycle, "x_min": number / 40, "x_max": number / 40 + 9} for number in range(NUM_BOXES - 1)]

    change_rows(platform.layout.detections_table(PROJECT), crowd)
    with served(platform) as site:
        page = visit(browser, site, f"/frames/{FRAME}")
        page.wait_for_function("() => document.body.dataset.frame")
        page.keyboard.press(" ")
        saved(page)
        page.context.close()
    words = Counter(word for _, word, _ in said(platform))
    assert words == {"right": NUM_BOXES, "complete": 1}


def test_queue__unsent_answers_are_kept_shown_and_sent(browser: "Page", site: ReviewSite) -> None:
    page = visit(browser, site, "/queues/filter")
    page.locator("li.tile").first.wait_for()
    is_away = True

    def fail_while_away(route: "Route") -> None:
        if is_away:
            route.abort()
        else:
            route.continue_()

    page.route("**/api/projects/*/answers", fail_while_away)
    page.keyboard.press("x")
    page.keyboard.press("k")
    page.wait_for_function(
        "() => document.getElementById('saving').textContent.includes('2 answers are not saved yet')"
    )
    assert said(site.platform) == []
    asked: list[str] = []

    def stay(dialog: object) -> None:
        asked.append(dialog.type)  # type: ignore[attr-defined]
        dialog.accept()  # type: ignore[attr-defined]

    page.on("dialog", stay)
    page.locator("h1").click()  # browsers ask only after the user has interacted with the page
    page.reload()  # as if the tab had been closed and reopened: the new page sends what is unsent
    assert asked == ["beforeunload"]
    is_away = False
    saved(page)
    assert [(who, word) for who, word, _ in said(site.platform)] == [("ann", "drop"), ("ann", "keep")]
    page.context.close()


def test_queue__two_people_at_once_lose_nothing(browser: "Page", site: ReviewSite) -> None:
    ann, bob = (visit(browser, site, "/queues/random", who) for who in ("ann", "bob"))
    frames = []
    for page in (ann, bob):
        page.wait_for_function("() => document.body.dataset.frame")
        frames.append(page.evaluate("document.body.dataset.frame"))
    assert frames[0] == frames[1]
    ann.keyboard.press("y")
    bob.keyboard.press("n")
    bob.keyboard.press("Space")
    ann.keyboard.press("Space")
    for page in (ann, bob):
        saved(page)
        page.context.close()
    from data_miner_dagster.catalog.verdicts import all_verdicts

    given = {(found.verdict.who, found.verdict.word.value) for found in all_verdicts(site.platform.database, PROJECT)}
    assert given >= {("ann", "right"), ("ann", "complete"), ("bob", "wrong"), ("bob", "complete")}


def test_groups__no_duplicate_and_another_representative(browser: "Page", site: ReviewSite) -> None:
    page = visit(browser, site, "/queues/duplicates")
    page.locator("li.tile").nth(1).wait_for()
    page.keyboard.press("n")
    page.keyboard.press("r")
    saved(page)
    assert [word for _, word, _ in said(site.platform)] == ["not_duplicate", "representative"]
    page.keyboard.press("u")
    page.keyboard.press("Space")  # everything without an answer is a duplicate
    saved(page)
    words = [word for _, word, _ in said(site.platform)]
    assert set(words) == {"not_duplicate", "duplicate"}
    page.context.close()


def test_link__from_another_name_of_this_machine(browser: "Page", site: ReviewSite) -> None:
    """Dagster's UI may be open at `localhost`, which is not the same site as 127.0.0.1, and the cookie is strict."""
    page = visit(browser, site, "")
    page.route(
        "http://localhost:1/",
        lambda route: route.fulfill(
            body=f'<a href="{site.address}/projects/{PROJECT}/queues/filter">review</a>', content_type="text/html"
        ),
    )
    page.goto("http://localhost:1/")
    page.get_by_text("review").click()
    page.locator("li.tile").first.wait_for()
    page.context.close()
