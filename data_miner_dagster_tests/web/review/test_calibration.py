"""Test the page that calibrates the filter's threshold, in a real browser and over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data_miner_dagster.catalog.projects import update_project
from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.filtering.questions import open_calibration
from data_miner_dagster.storage.frames import read_frames
from data_miner_dagster_tests.support.axis_project import PlantedPlatform, plant_frames, save_project
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.web.review.careful_person import browser_page
from data_miner_dagster_tests.web.review.serving import JSON, ReviewSite, served

if TYPE_CHECKING:
    from playwright.sync_api import Page

VIDEO = "local-a"
GOOD = 0.6
"""The lowest similarity of frames that show what is wanted. The threshold in force is .5."""
ADDRESS = "/api/projects/pets/calibration"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ReviewSite]:
    platform = PlantedPlatform(tmp_path / "root")
    save_project(platform, negative=["dog <b>"], junk=["slide"])
    add_video(platform.database, VIDEO, "pets", status=VideoStatus.EXTRACTED)
    scores = np.random.default_rng(3).permutation(np.arange(60) / 60)
    plant_frames(platform, VIDEO, [[score, 0, 0, 0] for score in scores.tolist()])
    filter_project(platform, "pets")
    file = tmp_path / "pets.yaml"
    file.write_text("name: pets\nfiltering: {positive: [cat]}\n")
    update_project(platform.database, "pets", config_file=str(file))
    with served(platform) as running:
        yield running


def truth(site: ReviewSite) -> dict[str, str]:
    """Return the right answer for each frame, by frame id."""
    calibration = open_calibration(site.platform, "pets")
    frames = calibration.frames
    return {
        frames.frame_id(position): "keep" if frames.similarities[position] >= GOOD else "drop"
        for position in range(len(frames.headroom))
    }


def test_calibration__says_what_the_answers_call_for_and_how_to_put_it_in_force(site: ReviewSite) -> None:
    cookie = site.cookie()
    assert site.ask(ADDRESS).status == 401
    before = site.ask(ADDRESS, Cookie=cookie).json
    assert (before["num_answered"], before["num_questions"], before["settings"]) == (0, 60, [])
    assert before["num_needed"] == 20
    assert before["remark"] == "0 answers are too few for a threshold; give at least 20"
    seconds = read_frames(site.platform.layout, VIDEO, ["pts_seconds"])["pts_seconds"].to_pylist()
    answers = [
        {
            "answer_id": f"answer-{index:03d}",
            "word": truth(site)[make_frame_id(VIDEO, index)],
            "queue": "calibration",
            "frame_id": make_frame_id(VIDEO, index),
            "pts_seconds": seconds[index],
        }
        for index in range(60)
    ]
    sent = site.ask("/api/projects/pets/answers", method="POST", body={"answers": answers}, Cookie=cookie, **JSON)
    assert sent.status == 200
    found = site.ask(f"{ADDRESS}?goal=precision&wanted=0.95", Cookie=cookie).json
    # All frames have answers, so nothing is uncertain. Of the 30 frames from .5 on, 24 are good; from .6 on, all are.
    assert found["in_force"]["precision"] == [0.8, 0.8, 0.8]
    assert found["chosen"]["recall"] == [1.0, 1.0, 1.0]
    assert found["is_assured"]
    threshold = found["chosen"]["threshold"]
    assert 0.58 < threshold <= GOOD
    assert found["settings"] == [f"positive_threshold: {{axis: {threshold}}}", "junk_threshold: {axis: 0.5}"]
    assert found["file"].endswith("/pets.yaml")
    assert found["write"] == f"data-miner calibrate pets --precision 0.95 --write --root {site.platform.root}"
    assert found["run"] == f"data-miner run --config {found['file']} --root {site.platform.root}"
    for query, line in (("wanted=1", "between 0 and 1"), ("wanted=x", "is not a number")):
        refused = site.ask(f"{ADDRESS}?{query}", Cookie=cookie)
        assert (refused.status, line in refused.json["error"]) == (400, True)


def test_calibration__states_the_question_in_the_projects_words(site: ReviewSite) -> None:
    page = site.ask("/projects/pets/queues/calibration", Cookie=site.cookie()).text
    assert "<b>Keep:</b> cat. <b>Drop:</b> dog &lt;b&gt;, slide, anything else." in page


@pytest.mark.browser
@pytest.mark.slow
def test_page__keys_go_on_at_the_first_frame_without_an_answer(site: ReviewSite) -> None:
    right = truth(site)
    with browser_page() as page:
        page.goto(site.link("ann", "/projects/pets/queues/calibration"))
        page.locator("li.tile[aria-current]").wait_for()
        first = current(page)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowLeft")
        page.locator("h1").click()  # so that nothing on the page has the focus
        page.keyboard.press("K")  # as with caps lock on
        page.keyboard.press("u")
        assert current(page) == first
        for _ in range(25):  # a page of 24, and the first of the next page
            frame = current(page)
            page.keyboard.press("k" if right[frame] == "keep" else "d")
            page.wait_for_function(
                "(before) => document.querySelector('li.tile[aria-current]')?.dataset.key !== before", arg=frame
            )
        page.wait_for_function("() => document.getElementById('progress').value === 25")
        assert "25 of 60 answered" in page.locator("#answered").inner_text()
        assert page.locator("#qualities tr").count() >= 1
        answered = {verdict.frame_id for verdict in verdicts_in_force(site.platform.database, "pets")}
        assert len(answered) == 25
        page.reload()
        page.locator("li.tile[aria-current]").wait_for()
        assert current(page) not in answered
    said = verdicts_in_force(site.platform.database, "pets")
    assert {verdict.queue for verdict in said} == {ReviewQueue.CALIBRATION}
    assert {verdict.frame_id: verdict.word.value for verdict in said} == {frame: right[frame] for frame in answered}


def current(page: "Page") -> str:
    return str(page.locator("li.tile[aria-current]").get_attribute("data-key"))
