"""Test people's verdicts on frames, from a file to the decision."""

from pathlib import Path

import pytest

from data_miner_dagster.catalog.verdicts import add_verdicts, undo_verdict, verdicts_in_force
from data_miner_dagster.domain.errors import ConfigError, NotReadyError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.verdicts import FramePlace, VerdictWord
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.filtering.verdicts import VerdictCounts, count_frame_verdicts, import_verdicts
from data_miner_dagster.operations.verdict_files import adopt_verdict_files
from data_miner_dagster.storage.tables import read_fingerprint, read_metadata, read_table
from data_miner_dagster.storage.verdicts import kept_by_hand
from data_miner_dagster_tests.support.axis_project import PlantedPlatform, plant_frames, save_project
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.verdicts import frame_verdict


@pytest.fixture
def platform(tmp_path: Path) -> PlantedPlatform:
    """Return a platform with similarities .75, .25, .875 in one video and .125, 1 (black) in another; threshold .5."""
    platform = PlantedPlatform(tmp_path / "root")
    save_project(platform)
    add_video(platform.database, "local-a", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-a", [[0.75, 0, 0, 0], [0.25, 0, 0, 0], [0.875, 0, 0, 0]])
    add_video(platform.database, "local-b", "pets", status=VideoStatus.EXTRACTED)
    plant_frames(platform, "local-b", [[0.125, 0, 0, 0], [1, 0, 0, 0]], quality_flag=[None, "black"])
    return platform


def give(platform: PlantedPlatform, *lines: str, who: str = "Ada") -> VerdictCounts:
    file = platform.root.parent / "answers.csv"
    file.write_text("\n".join(["frame_id,answer", *lines]))
    return import_verdicts(platform, "pets", file, who=who)


def decisions(platform: PlantedPlatform) -> dict[str, str | None]:
    table = read_table(platform.layout.filtered_table("pets"), ["frame_id", "drop_reason"])
    return dict(zip(table["frame_id"].to_pylist(), table["drop_reason"].to_pylist(), strict=True))


def test_import_verdicts__the_next_filtering_honours_them(platform: PlantedPlatform) -> None:
    filter_project(platform, "pets")
    before = platform.layout.filtered_table("pets").read_bytes()
    counts = give(platform, "local-a/000000,drop", "local-b/000001,keep", "local-z/000009,keep", "local-a/000001,")
    assert counts == VerdictCounts(num_kept=1, num_dropped=1, unknown=("local-z/000009",))
    outcome = filter_project(platform, "pets")
    assert outcome.status is OutcomeStatus.DONE
    assert list(outcome.counts.items()) == [("frames", 5), ("kept", 2), ("by_hand", 1), ("below_positive", 2)]
    assert (outcome.metadata["verdicts"], outcome.metadata["videos_scored"]) == (2, 0)
    assert decisions(platform) == {
        "local-a/000000": "by_hand",
        "local-a/000001": "below_positive",
        "local-a/000002": None,
        "local-b/000000": "below_positive",
        "local-b/000001": None,
    }
    assert filter_project(platform, "pets").status is OutcomeStatus.REUSED
    # after the verdicts are taken back, it is as if nobody had given any
    for verdict in verdicts_in_force(platform.database, "pets"):
        assert undo_verdict(platform.database, "pets", verdict.answer_id, who="Ada")
    assert filter_project(platform, "pets").status is OutcomeStatus.DONE
    assert platform.layout.filtered_table("pets").read_bytes() == before


def test_import_verdicts__they_outlive_another_threshold_and_frames_made_again(platform: PlantedPlatform) -> None:
    filter_project(platform, "pets")
    give(platform, "local-a/000001,keep")
    times = read_table(platform.layout.frames_table("local-a"), ["pts_seconds"])["pts_seconds"].to_pylist()
    (verdict,) = verdicts_in_force(platform.database, "pets")
    assert verdict.place == FramePlace("local-a", times[1])
    # the same video, extracted again with one more frame at the start: the frame at the judged time has another id
    seconds = [times[1] / 2, *times]
    vectors = [[0.125, 0, 0, 0], [0.75, 0, 0, 0], [0.25, 0, 0, 0], [0.875, 0, 0, 0]]
    plant_frames(platform, "local-a", vectors, frames_fingerprint="frames-2", pts_seconds=sorted(seconds))
    save_project(platform, positive_threshold={"axis": 0.8})
    filter_project(platform, "pets")
    at = sorted(seconds).index(times[1])
    kept = [frame_id for frame_id, reason in decisions(platform).items() if reason is None]
    assert kept == [f"local-a/{at:06d}", "local-a/000003"]


def test_import_verdicts__the_last_word_counts_and_the_first_who_said_it_stays(platform: PlantedPlatform) -> None:
    filter_project(platform, "pets")
    give(platform, "local-a/000000,drop")
    give(platform, "local-a/000000,drop", who="Ben")
    (verdict,) = verdicts_in_force(platform.database, "pets")
    assert (verdict.frame_id, verdict.word, verdict.who) == ("local-a/000000", VerdictWord.DROP, "Ada")
    assert give(platform, "local-a/000000,keep", who="Ben") == VerdictCounts(1, 0)
    (verdict,) = verdicts_in_force(platform.database, "pets")
    assert (verdict.word, verdict.who) == (VerdictWord.KEEP, "Ben")


def test_import_verdicts__not_filtered_yet(platform: PlantedPlatform) -> None:
    with pytest.raises(NotReadyError, match="has no filtered_frames yet"):
        give(platform, "local-a/000000,drop")


def test_count_frame_verdicts__none_and_no_project(platform: PlantedPlatform) -> None:
    assert count_frame_verdicts(platform, "pets") == VerdictCounts(0, 0)
    with pytest.raises(ConfigError, match="project 'plants' does not exist"):
        count_frame_verdicts(platform, "plants")


def test_filter_project__a_verdict_on_a_video_that_is_no_member_makes_nothing_stale(platform: PlantedPlatform) -> None:
    filter_project(platform, "pets")
    fingerprint = read_fingerprint(platform.layout.filtered_table("pets"))
    add_verdicts(platform.database, "pets", [frame_verdict("local-z/000000", 0.0, VerdictWord.KEEP)])
    assert filter_project(platform, "pets").status is OutcomeStatus.REUSED
    assert read_fingerprint(platform.layout.filtered_table("pets")) == fingerprint


HEADER = "frame_id,pts_seconds,verdict,who,given_at"


def test_filter_project__a_file_of_an_earlier_version_is_taken_in(platform: PlantedPlatform) -> None:
    file = platform.layout.frame_verdicts("pets")
    file.parent.mkdir(parents=True)
    file.write_text(f"{HEADER}\nlocal-a/000000,0.0,drop,Ada,2026-01-02T03:04:05Z\nlocal-z/000000,1.5,keep,,\n")
    filter_project(platform, "pets")
    assert decisions(platform)["local-a/000000"] == "by_hand"
    assert [(verdict.frame_id, verdict.who) for verdict in verdicts_in_force(platform.database, "pets")] == [
        ("local-z/000000", ""),
        ("local-a/000000", "Ada"),
    ]
    assert [path.name for path in file.parent.iterdir()] == ["frames.csv.adopted"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("local-b/000000,0.0,maybe,Ada,", "frames.csv is not a valid verdict"),
        (f"local-b/000000,0.0,keep,{'A' * 200_000},", "frames.csv is not a CSV file"),
        (None, "Input/output error"),
    ],
)
def test_adopt_verdict_files__a_damaged_file_stops_no_other_project(
    platform: PlantedPlatform, caplog: pytest.LogCaptureFixture, line: str | None, problem: str
) -> None:
    damaged, file = platform.layout.frame_verdicts("cats"), platform.layout.frame_verdicts("pets")
    for path in (damaged, file):
        path.parent.mkdir(parents=True)
    if line is None:
        damaged.symlink_to("/proc/self/mem")  # as on a failing disk, reading it raises an error
    else:
        damaged.write_text(f"{HEADER}\n{line}\n")
    file.write_text(f"{HEADER}\nlocal-a/000000,0.0,drop,Ada,2026-01-02T03:04:05Z\n")
    adopt_verdict_files(platform.database, platform.layout)
    assert "the earlier verdicts of project cats were not imported: " in caplog.text
    assert problem in caplog.text
    assert len(verdicts_in_force(platform.database, "pets")) == 1
    assert damaged.exists()


def test_filter_project__a_file_that_cannot_be_read_stops_its_project(platform: PlantedPlatform) -> None:
    file = platform.layout.frame_verdicts("pets")
    file.parent.mkdir(parents=True)
    file.write_text(f"{HEADER}\nlocal-a/000000,0.0,maybe,Ada,2026-01-02T03:04:05Z\n")
    with pytest.raises(ConfigError, match=r"line 2 of .* is not a valid verdict"):
        filter_project(platform, "pets")
    assert file.exists()


def test_filter_project__a_verdict_whose_time_another_tool_has_rounded(platform: PlantedPlatform) -> None:
    filter_project(platform, "pets")
    said = [
        frame_verdict("local-a/000001", 1.0004, VerdictWord.KEEP),
        frame_verdict("local-a/000000", 0.0005, VerdictWord.DROP),  # half a millisecond off, which is another time
        frame_verdict("local-a/000002", 2.0, VerdictWord.KEEP),
        frame_verdict("local-a/000002", 2.0003, VerdictWord.DROP),  # on the same frame, but later
    ]
    for verdict in said:
        add_verdicts(platform.database, "pets", [verdict])
    filter_project(platform, "pets")
    found = decisions(platform)
    assert found["local-a/000001"] is None
    assert found["local-a/000000"] is None
    assert found["local-a/000002"] == "by_hand"
    kept = kept_by_hand(read_metadata(platform.layout.filtered_table("pets")))
    assert kept.holds("local-a", 1.0)
    assert not kept.holds("local-a", 1.001)
    assert not kept.holds("local-a", 2.0)
    assert not kept.holds("local-b", 1.0)
