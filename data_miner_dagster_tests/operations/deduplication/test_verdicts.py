"""Test that verdicts on pairs hold whatever the similarity, break no guarantee and make nothing stale."""

from datetime import UTC, datetime, timedelta
from itertools import count

from data_miner_dagster.catalog.verdicts import add_verdicts, undo_verdict
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, Verdict, VerdictWord
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.storage.tables import read_fingerprint
from data_miner_dagster_tests.support.axis_duplicates import CAT, CAT_ON_BUS, NEARLY_CAT, plant, run, save
from data_miner_dagster_tests.support.axis_project import PlantedPlatform

START = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = count()


def say(platform: PlantedPlatform, word: VerdictWord, one: str, other: str, project: str = "pets") -> str:
    """Record a person's verdict on two frames, given as VIDEO/SECONDS, and return the answer's id."""
    places = [FramePlace(frame.partition("/")[0], float(frame.partition("/")[2])) for frame in (one, other)]
    answer_id = f"{word.value} {one} {other}"
    given_at = START + timedelta(seconds=next(SECONDS))
    verdict = Verdict(
        answer_id,
        word,
        places[0],
        one,
        ReviewQueue.DUPLICATES,
        "ada",
        given_at,
        other_place=places[1],
        other_frame_id=other,
    )
    add_verdicts(platform.database, project, [verdict])
    return answer_id


def test_deduplicate_project__no_duplicates_says_a_person(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT, CAT], sharpness=[9, 8, 7], sha256=["1", "2", "1"])
    before = run(platform)
    assert {representative for representative, _ in before.values()} == {"site-a/000000"}
    fingerprint = read_fingerprint(platform.layout.deduplicated_table("pets"))

    answer_id = say(platform, VerdictWord.NOT_DUPLICATE, "site-a/000002", "site-a/000000")  # their files are equal
    assert run(platform) == {
        "site-a/000000": ("site-a/000000", None),
        "site-a/000001": ("site-a/000000", "within_video"),
        "site-a/000002": ("site-a/000002", None),
    }
    undo_verdict(platform.database, "pets", answer_id, who="ada")
    assert run(platform) == before
    assert read_fingerprint(platform.layout.deduplicated_table("pets")) == fingerprint


def test_deduplicate_project__a_person_chooses_the_representative(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT, CAT_ON_BUS], sharpness=[9, 8, 7])
    plant(platform, "site-b", [CAT], sharpness=[1])
    assert run(platform)["site-b/000000"] == ("site-a/000000", "across_videos")
    say(platform, VerdictWord.REPRESENTATIVE, "site-a/000001", "site-a/000000")
    named = {frame_id: representative for frame_id, (representative, _) in run(platform).items()}
    assert named == dict.fromkeys(["site-a/000000", "site-a/000001", "site-b/000000"], "site-a/000001") | {
        "site-a/000002": "site-a/000002"
    }
    say(platform, VerdictWord.REPRESENTATIVE, "site-b/000000", "site-a/000001")  # the later verdict takes precedence
    named = {frame_id: representative for frame_id, (representative, _) in run(platform).items()}
    assert named["site-a/000001"] == named["site-b/000000"] == "site-b/000000"
    assert deduplicate_project(platform, "pets").status is OutcomeStatus.REUSED


def test_deduplicate_project__a_chosen_frame_comes_before_what_was_published(platform: PlantedPlatform) -> None:
    save(platform)
    save(platform, "others")
    plant(platform, "site-a", [CAT], sharpness=[9])
    plant(platform, "site-b", [CAT], project="others")
    run(platform)
    plant(platform, "site-c", [CAT], sharpness=[1])
    say(platform, VerdictWord.REPRESENTATIVE, "site-c/000000", "site-a/000000")
    assert run(platform)["site-a/000000"] == ("site-c/000000", "across_videos")
    say(platform, VerdictWord.NOT_DUPLICATE, "site-c/000000", "site-a/000000.0004")
    assert {named for named, _ in run(platform).values()} == {"site-a/000000", "site-c/000000"}


def test_deduplicate_project__verdicts_on_frames_that_are_not_there(platform: PlantedPlatform) -> None:
    save(platform)
    plant(platform, "site-a", [CAT, NEARLY_CAT])
    before = run(platform)
    say(platform, VerdictWord.REPRESENTATIVE, "site-x/000001", "site-a/000000")
    say(platform, VerdictWord.NOT_DUPLICATE, "site-a/000009", "site-a/000000")
    assert run(platform) == before
