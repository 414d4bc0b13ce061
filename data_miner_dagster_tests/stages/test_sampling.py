"""Test which frames belong to a random sample."""

import numpy as np

from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, Verdict, VerdictWord
from data_miner_dagster.stages.sampling import sampled_places, sampling_numbers
from data_miner_dagster_tests.support.verdicts import NOON


def complete(place: FramePlace, queue: ReviewQueue) -> Verdict:
    return Verdict(str(place), VerdictWord.COMPLETE, place, f"{place.video_key}/000000", queue, "Ada", NOON)


def test_sampled_places__every_complete_frame_up_to_the_last_that_the_sample_asked_about() -> None:
    places = [FramePlace("files-a", index / 30) for index in range(10)]
    numbers = sampling_numbers(["files-a"], np.zeros(10, np.int64), np.array([place.pts_seconds for place in places]))
    first, second, third, fourth, *_ = [places[index] for index in np.argsort(numbers)]
    # Somebody skipped the second frame, so it is not complete. The fourth lies beyond what the sample asked about.
    said = [
        complete(first, ReviewQueue.UNSURE),
        complete(third, ReviewQueue.RANDOM),
        complete(fourth, ReviewQueue.UNSURE),
    ]
    assert sampled_places(said) == {first, third}
    assert second not in sampled_places(said)


def test_sampled_places__none_without_answers_of_the_sample() -> None:
    assert sampled_places([]) == frozenset()
    assert sampled_places([complete(FramePlace("files-a", 0.0), ReviewQueue.UNSURE)]) == frozenset()
