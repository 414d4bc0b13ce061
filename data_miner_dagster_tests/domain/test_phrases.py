import re
from pathlib import Path

import pytest

import data_miner_dagster
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


_NOUNS = "videos|frames|images|boxes|files|projects|runs|answers|verdicts|pictures|objects|candidates"
_NUMBER_AND_NOUN = re.compile(
    rf"\{{(?!_?[A-Z][A-Z_]+\}})(?!counted\()([^{{}}\n]+)\}} ((more|new|other|random|unsure) )?({_NOUNS})\b"
    rf"|%d ({_NOUNS})\b|\| thousands \}}\}} ({_NOUNS})\b"
)
_NO_NUMBER = (
    "launches runs",
    "any number of",
    "removed:,} images",
    "{len(self.prompts)} boxes",
    "{shown} ",
    "{their} files",
    "'fewer'} images",
    "'seqLength')} frames",
)
"""Lines that need no `counted`: no number precedes the noun, the number is never 1, or it reports a bug."""


def test_counted__is_asked_wherever_a_number_and_its_noun_are_said() -> None:
    package = Path(data_miner_dagster.__file__).parent
    found = [
        f"{path.relative_to(package)}:{number}: {line.strip()}"
        for path in sorted(package.rglob("*"))
        if path.suffix in (".py", ".j2")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if _NUMBER_AND_NOUN.search(line) and "logger.debug" not in line and not any(it in line for it in _NO_NUMBER)
    ]
    assert not found, "use `counted` of domain/phrases.py in\n" + "\n".join(found)
