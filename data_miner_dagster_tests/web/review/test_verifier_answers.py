"""Test a verifier's answers about boxes, as the page for boxes requests them."""

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_miner_dagster.domain.tables import DETECTIONS_SCHEMA, VERIFIER_COLUMNS
from data_miner_dagster.storage.tables import read_metadata, table_from_rows, write_table
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project
from data_miner_dagster_tests.web.review.careful_person import browser_page
from data_miner_dagster_tests.web.review.serving import ReviewSite, served

SAID = {"verifier_verdict": "rejected", "verifier_reason": "a <b>gate</b>\x1b[2J, no bicycle", "verifier": "eyes"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReviewSite]:
    """Serve two projects with two boxes each on one frame. A verifier has examined only the first box of `cyclists`."""
    root = tmp_path_factory.mktemp("root")
    boxes = [("bicycle", 0.9, (16.0, 12.0, 32.0, 24.0)), ("person", 0.8, (1.0, 1.0, 9.0, 9.0))]
    for name in ("plain", "cyclists"):
        platform = build_project(root, name=name, videos=[SampleVideo("files-aaa", 2, boxes={0: boxes})])
    path = platform.layout.detections_table("cyclists")
    rows = pq.read_table(path).to_pylist()
    rows = [{**row, **(SAID if row["class_name"] == "bicycle" else dict.fromkeys(SAID))} for row in rows]
    schema = DETECTIONS_SCHEMA
    for field in VERIFIER_COLUMNS:
        schema = schema.append(field)
    metadata = {**read_metadata(path)}
    fingerprint = metadata.pop("data_miner.fingerprint", "planted")
    write_table(path, table_from_rows(rows, schema), fingerprint=fingerprint, metadata=metadata)
    with served(platform) as site:
        yield site


def answers_of(site: ReviewSite, project: str, frame_index: int) -> Any:
    return site.ask(f"/api/projects/{project}/verifier/files-aaa/{frame_index}", cookie=site.cookie()).json["verifier"]


def test_verifier__the_box_the_verdict_and_the_reason(site: ReviewSite) -> None:
    assert answers_of(site, "cyclists", 0) == [
        {
            "class_name": "bicycle",
            "corners": [16, 12, 32, 24],
            "verdict": "rejected",
            "text": "rejected by the verifier",
            "reason": "a <b>gate</b>\\u001b[2J, no bicycle",
        }
    ]


def test_verifier__nothing_said(site: ReviewSite) -> None:
    assert answers_of(site, "cyclists", 1) == []
    assert answers_of(site, "plain", 0) == []


def test_verifier__only_to_people_who_have_logged_in(site: ReviewSite) -> None:
    assert site.ask("/api/projects/cyclists/verifier/files-aaa/0").status == 401


@pytest.mark.parametrize(("queue", "is_shown"), [("unsure", True), ("random", False), ("near_threshold", False)])
def test_queue__what_measures_something_shows_no_verifier(site: ReviewSite, queue: str, *, is_shown: bool) -> None:
    pages = {name: site.ask(f"/projects/{name}/queues/{queue}", cookie=site.cookie()) for name in ("plain", "cyclists")}
    shows = {name: "data-verifier" in page.text for name, page in pages.items()}
    assert shows == {"plain": False, "cyclists": is_shown}


@pytest.mark.browser
@pytest.mark.slow(5)
def test_frame__the_box_that_was_looked_at_says_so_until_a_person_makes_another_of_it(site: ReviewSite) -> None:
    with browser_page() as page:
        page.set_default_timeout(90_000)
        page.goto(site.link("ann", "/projects/cyclists/frames/files-aaa/000000"))
        page.get_by_text("1 box is left out for low confidence or by the verifier (press l to show it)").wait_for()
        page.keyboard.press("l")
        page.locator(".row .said").wait_for()
        assert page.locator(".row .said").all_inner_texts() == [
            "rejected by the verifier: a <b>gate</b>\\u001b[2J, no bicycle"
        ]
        assert page.locator(".row", has=page.locator(".said")).locator(".name").inner_text() == "bicycle"
        page.locator(".row", has=page.locator(".said")).click()
        page.keyboard.press("1")
        page.get_by_text("other class", exact=True).wait_for()
        assert page.locator(".row .said").count() == 0
