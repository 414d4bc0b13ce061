"""Test that one careful pass through the review pages corrects all mistakes of the detector in the next release."""

from collections import Counter
from pathlib import Path

import pytest

from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.faulty_labels import build_faulty_project, faults_of_release
from data_miner_dagster_tests.web.review.careful_person import CarefulPerson, browser_page
from data_miner_dagster_tests.web.review.serving import served

NUM_IMAGES = 60
NUM_OBJECTS, NUM_WRONG, NUM_SHIFTED, NUM_MISSING = 180, 36, 9, 9
"""The last three numbers are a fifth, a twentieth and a twentieth of the first."""
WITHIN_PIXELS = 0.3
"""How precisely a mouse hits an edge in a picture of 64 by 48 pixels."""

PAGE_JUST_OPENED = "performance.now = () => 100"
"""A simulated machine so fast that everything happens in the first quarter of a second after a page opens."""


@pytest.mark.browser
@pytest.mark.slow
def test_review__the_next_release_has_no_fault_left(tmp_path: Path) -> None:
    project = build_faulty_project(tmp_path / "root", NUM_IMAGES)
    platform = project.platform
    release_project(platform, "cyclists")
    assert len(list(faults_of_release(project, "v001"))) > NUM_WRONG
    with served(platform) as site, browser_page() as page:
        page.add_init_script(PAGE_JUST_OPENED)
        page.goto(site.link("ann", "/projects/cyclists/queues/random"))
        person = CarefulPerson(page, project.truth)
        assert person.review_all() == NUM_IMAGES
    said = verdicts_in_force(platform.database, "cyclists")
    assert Counter(verdict.word.value for verdict in said) == {
        "right": NUM_OBJECTS - NUM_SHIFTED - NUM_MISSING,
        "wrong": NUM_WRONG,
        "shifted": NUM_SHIFTED,
        "missing": NUM_MISSING,
        "complete": NUM_IMAGES,
    }
    assert {verdict.who for verdict in said} == {"ann"}
    release_project(platform, "cyclists")
    assert list(faults_of_release(project, "v002", within=WITHIN_PIXELS)) == []
