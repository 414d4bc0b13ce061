"""The detections of a planted project, and the verdicts that people gave on them."""

from dataclasses import replace
from datetime import timedelta

from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster_tests.support.sample_project import FRAME_WH
from data_miner_dagster_tests.support.verdicts import NOON

NUM_FRAMES = 40
LEFTS = (1.0, 17.0, 33.0, 49.0)
"""The left edges of the four objects on a frame, each 12 pixels wide and 40 high. The last one is never detected."""


def confidence(frame: int, place: int) -> float:
    return round(0.1 + 0.85 * ((frame * 3 + place) % 120) / 120, 4)


def is_right(frame: int, place: int) -> bool:
    return confidence(frame, place) >= 0.5


def box_at(left: float) -> tuple[float, float, float, float]:
    return (left, 4.0, left + 12.0, 44.0)


def shares_at(left: float) -> tuple[float, float, float, float]:
    width, height = FRAME_WH
    return (left / width, 4 / height, (left + 12) / width, 44 / height)


def said_of(frame: int) -> list[Verdict]:
    place, frame_id = FramePlace("files-aaa", float(frame)), f"files-aaa/{frame:06d}"
    queue = ReviewQueue.RANDOM if frame % 2 else ReviewQueue.NEAR_THRESHOLD
    given = NOON + timedelta(days=frame // 20)

    def answer(name: str, word: VerdictWord, shown: ShownBox | None = None) -> Verdict:
        return Verdict(f"{frame}-{name}", word, place, frame_id, queue, "Ada", given, shown=shown)

    verdicts = [
        answer(
            f"box-{number}",
            VerdictWord.RIGHT if is_right(frame, number) else VerdictWord.WRONG,
            ShownBox("person", shares_at(LEFTS[number]), "lite", "detector", confidence(frame, number)),
        )
        for number in range(3)
    ]
    if frame % 2:
        verdicts.append(answer("complete", VerdictWord.COMPLETE))
        if frame % 4 == 1:
            verdicts.append(answer("drawn", VerdictWord.MISSING, ShownBox("person", shares_at(LEFTS[3]))))
    if frame == 0:
        old = answer("old", VerdictWord.RIGHT, ShownBox("bicycle", (0.0, 0.0, 0.5, 0.5), "lite", "earlier", 0.9))
        verdicts.append(replace(old, who="Ben"))
    return verdicts
