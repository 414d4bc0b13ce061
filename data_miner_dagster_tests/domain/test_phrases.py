import pytest

from data_miner_dagster.domain.phrases import counted, counted_phrase, phrase_of, phrase_of_stage
from data_miner_dagster.domain.reasons import DropReason, DuplicateTier, QualityFlag, RejectionRule, VideoErrorKind
from data_miner_dagster.domain.statuses import ProjectStage


@pytest.mark.parametrize(
    "stored",
    [*DropReason, *DuplicateTier, *QualityFlag, *RejectionRule, *VideoErrorKind],
    ids=lambda reason: repr(reason),
)
def test_phrase_of__every_stored_reason_has_words(stored: str) -> None:
    assert "_" not in phrase_of(stored)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("below_positive", "not similar enough to the prompts"),
        ("duplicate within_video", "near-duplicate"),
        ("failed: undecodable", "failed: cannot be decoded"),
        ("by_hand", "removed by a person"),
        ("a_reason of a later version", "a reason of a later version"),
        ("num_unmet", "sampling times without a frame"),
        ("num_embedded", "embedded"),
        ("boxes:my_car", "boxes of my_car"),
        ("verifier:cannot_tell", "undecided by the verifier"),
        ("waiting for review (an unsure box)", "waiting for review (an unsure box)"),
    ],
)
def test_phrase_of(stored: str, words: str) -> None:
    assert phrase_of(stored) == words


def test_phrase_of_stage() -> None:
    told = {stage: phrase_of_stage(stage) for stage in ProjectStage}
    assert told[ProjectStage.SOURCING] == "finding and preparing videos"
    assert told[ProjectStage.DETECTION_READY] == "waiting for detection"
    assert told[ProjectStage.DETECTION] == "at detection"
    assert told[ProjectStage.COMPLETE] == "complete"
    assert told[ProjectStage.FAILED] == "failed"
    assert not any("_" in words for words in told.values())


def test_counted_phrase() -> None:
    assert counted_phrase(1, "duplicate within_video") == "1 near-duplicate"
    assert counted_phrase(1100, "duplicate across_videos") == "1,100 near-duplicates in another video"
    assert counted_phrase(1, "boxes of car") == "1 box of car"
    assert counted_phrase(2, "exact") == "2 exact copies"
    assert counted_phrase(3, "below_positive") == "3 not similar enough to the prompts"


def test_counted() -> None:
    assert [counted(n, "video") for n in (0, 1, 1200)] == ["0 videos", "1 video", "1,200 videos"]
    assert counted(2, "copy", "copies") == "2 copies"
