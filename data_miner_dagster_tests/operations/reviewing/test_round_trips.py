"""Labels are exported to a tool, corrected there by a person, and imported as verdicts."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete

from data_miner_dagster.catalog.schema import ProjectVideoRow
from data_miner_dagster.catalog.verdicts import verdicts_in_force
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reviewing.round_trips import (
    ReturnedFile,
    RoundTripOutcome,
    find_sent,
    import_corrections,
)
from data_miner_dagster_tests.support.annotators import ANNOTATOR, ANNOTATORS
from data_miner_dagster_tests.support.faulty_labels import FaultyProject, build_faulty_project, faults_of_release
from data_miner_dagster_tests.support.sample_project import build_platform, build_project

NUM_IMAGES = 60
NUM_OBJECTS, NUM_WRONG, NUM_SHIFTED, NUM_MISSING = 180, 36, 9, 9


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> FaultyProject:
    """Return a released project with faults, whose root each test copies."""
    project = build_faulty_project(tmp_path_factory.mktemp("released") / "root", NUM_IMAGES)
    assert (project.num_wrong, project.num_shifted, project.num_missing) == (NUM_WRONG, NUM_SHIFTED, NUM_MISSING)
    release_project(project.platform, "cyclists")
    assert len(list(faults_of_release(project, "v001"))) > NUM_WRONG
    project.platform.database.dispose()
    return project


@pytest.mark.parametrize("tool", ANNOTATORS)
def test_import_corrections__the_next_release_has_no_fault_left(
    released: FaultyProject, tmp_path: Path, tool: str
) -> None:
    platform = build_platform(shutil.copytree(released.platform.root, tmp_path / "root"))
    project = replace(released, platform=platform)
    export = platform.layout.release_folder("cyclists", "v001")
    if tool != "coco":
        export = export_release(platform, "cyclists", format=tool, to=tmp_path / "export").folder
    path = ANNOTATORS[tool](export, project.truth, tmp_path)
    sent = find_sent(platform, "cyclists", path, folder=export)
    file = ReturnedFile(path, tool, "somebody", all_reviewed=True)
    outcome = import_corrections(platform, "cyclists", file, sent)
    assert outcome.words == {
        "right": NUM_OBJECTS - NUM_SHIFTED - NUM_MISSING,
        "wrong": NUM_WRONG,
        "shifted": NUM_SHIFTED,
        "missing": NUM_MISSING,
        "complete": NUM_IMAGES,
    }
    assert (outcome.num_reviewed, outcome.num_not_returned, outcome.left_out) == (NUM_IMAGES, 0, {})
    assert outcome.num_verdicts == sum(outcome.words.values())
    assert import_corrections(platform, "cyclists", file, sent).num_verdicts == 0
    said = verdicts_in_force(platform.database, "cyclists")
    people = {"label-studio": ANNOTATOR, "cvat": ANNOTATOR}
    assert Counter(verdict.who for verdict in said) == {people.get(tool, "somebody"): outcome.num_verdicts}
    assert {verdict.queue for verdict in said} == {ReviewQueue.IMPORTED}
    release_project(platform, "cyclists")
    assert list(faults_of_release(project, "v002")) == []


class RoundTrip:
    """A release of the small project of support/sample_project.py that was exported to CVAT."""

    def __init__(self, folder: Path) -> None:
        self.platform = build_platform(folder / "root")
        self.export = folder / "export"
        self.xml = self.export / "annotations.xml"

    def change(self, old: str, new: str) -> None:
        text = self.xml.read_text()
        assert old in text
        self.xml.write_text(text.replace(old, new, 1))

    def back(self, *, all_reviewed: bool = False, who: str = "ann") -> RoundTripOutcome:
        sent = find_sent(self.platform, "cyclists", self.xml)
        file = ReturnedFile(self.xml, "cvat", who, all_reviewed)
        return import_corrections(self.platform, "cyclists", file, sent)

    def said(self) -> list[tuple[str, str, str]]:
        verdicts = verdicts_in_force(self.platform.database, "cyclists")
        return [(verdict.who, verdict.word.value, verdict.frame_id) for verdict in verdicts]


@pytest.fixture(scope="module")
def gone_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a root and, beside it, the export of its release."""
    folder = tmp_path_factory.mktemp("gone_out")
    platform = build_project(folder / "root")
    release_project(platform, "cyclists")
    export_release(platform, "cyclists", format="cvat", to=folder / "export")
    platform.database.dispose()
    return folder


@pytest.fixture
def trip(gone_out: Path, tmp_path: Path) -> RoundTrip:
    """Return a copy of the root and the export."""
    return RoundTrip(shutil.copytree(gone_out, tmp_path / "trip"))


def test_import_corrections__only_changes_where_nobody_knows(trip: RoundTrip) -> None:
    untouched = trip.back()
    assert (untouched.num_untouched, untouched.num_changed, untouched.num_verdicts) == (7, 0, 0)
    trip.change('label="bicycle"', 'label="person"')
    changed = trip.back()
    assert (changed.num_untouched, changed.num_changed, changed.num_reviewed) == (6, 1, 0)
    assert trip.said() == [("ann", "other_class", "files-aaa/000001")]
    trip.change('height="48" />', 'height="48"><tag label="reviewed" source="manual"></tag></image>')
    assert trip.back().num_reviewed == 1
    assert [word for _, word, _ in trip.said()] == ["other_class", "complete"]


def test_import_corrections__the_last_word_counts_and_the_same_adds_nothing(trip: RoundTrip) -> None:
    before = trip.xml.read_text()
    trip.change('label="bicycle"', 'label="person"')
    assert trip.back(who="ann").num_verdicts == 1
    assert trip.back(who="bob").num_verdicts == 0  # bob's correction is the same as ann's
    trip.xml.write_text(before)
    assert trip.back(who="bob", all_reviewed=True).num_verdicts == 5 + 7
    assert ("bob", "right", "files-aaa/000001") in trip.said()
    trip.change('label="bicycle"', 'label="person"')
    assert trip.back(who="ann").num_verdicts == 1  # ann gave this verdict before, but bob has contradicted it since
    assert ("ann", "other_class", "files-aaa/000001") in trip.said()


def test_import_corrections__what_gives_nothing_is_named(trip: RoundTrip) -> None:
    trip.change('label="bicycle"', 'label="tram"')
    text = trip.xml.read_text()
    first, second, third = (line for line in text.splitlines() if 'height="48" />' in line)
    for line, new in (
        (first, line_of("train/elsewhere.jpg")),
        (second, line_of("train/files-aaa_000003.jpg", '<ellipse label="person"></ellipse>')),
        (third, ""),
    ):
        text = text.replace(line, new)
    trip.xml.write_text(text)
    outcome = trip.back(all_reviewed=True)
    assert (outcome.num_not_returned, outcome.num_reviewed) == (3, 2)
    reasons = {name.rpartition("/")[2]: why for name, why in outcome.left_out.items()}
    assert reasons == {
        "files-aaa_000001.jpg": "it has the label 'tram', which is not a class of the export",
        "files-aaa_000003.jpg": "it has a shape of kind ellipse",
        "elsewhere.jpg": "it was not sent with this export",
    }


def line_of(name: str, content: str = "") -> str:
    return f'<image id="9" name="{name}" width="64" height="48">{content}</image>'


def test_find_sent__what_went_out_must_be_known(trip: RoundTrip, tmp_path: Path) -> None:
    alone = tmp_path / "alone.xml"
    with pytest.raises(ConfigError, match=r"alone\.xml is not in the folder of its export; give --sent FOLDER"):
        find_sent(trip.platform, "cyclists", alone)
    with pytest.raises(ConfigError, match="is neither an export for an annotation tool nor a release"):
        find_sent(trip.platform, "cyclists", alone, folder=tmp_path)
    release = find_sent(trip.platform, "cyclists", alone, version="v001")
    export = find_sent(trip.platform, "cyclists", alone, folder=trip.export)
    assert release.header == export.header
    assert list(release.images()) == list(export.images())
    (trip.export / "shown" / "header.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"header\.json cannot be read"):
        find_sent(trip.platform, "cyclists", alone, folder=trip.export)


def test_import_corrections__another_project(trip: RoundTrip) -> None:
    build_project(trip.platform.root, name="others")
    sent = find_sent(trip.platform, "cyclists", trip.xml)
    with pytest.raises(
        ConfigError, match="belongs to project 'cyclists' rather than 'others'; import the file into 'cyclists'"
    ):
        import_corrections(trip.platform, "others", ReturnedFile(trip.xml, "cvat", "ann"), sent)
    with pytest.raises(
        ConfigError, match="`--from paint` is not a supported tool; use one of label-studio, cvat, fiftyone, coco"
    ):
        import_corrections(trip.platform, "cyclists", ReturnedFile(trip.xml, "paint", "ann"), sent)


def test_import_corrections__a_video_that_is_no_longer_in_the_project(trip: RoundTrip) -> None:
    trip.change('label="bicycle"', 'label="person"')
    with trip.platform.database.transaction() as session:
        session.execute(delete(ProjectVideoRow).where(ProjectVideoRow.video_key == "files-aaa"))
    outcome = trip.back(all_reviewed=True)
    assert set(outcome.left_out.values()) == {"its video is no longer in the project"}
    assert {frame_id.partition("/")[0] for *_, frame_id in trip.said()} == {"files-bbb", "files-ccc"}
