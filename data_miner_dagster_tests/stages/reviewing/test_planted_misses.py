"""Holding frames keeps most wrong negatives of a detector that misses a fifth of the objects out of a release.

`python -m benchmarks.unsure` repeats this with more frames and other seeds, and fits the curves again.
"""

from data_miner_dagster_tests.support.planted_misses import count_negatives, plant_frames

NUM_FRAMES = 4000


def test_hold__wrong_negatives_go_and_correct_ones_stay() -> None:
    frames = plant_frames(NUM_FRAMES, seed=20261128)
    num_missed = sum(frame.num_missed + frame.num_silent for frame in frames)
    assert 0.18 <= num_missed / sum(frame.num_objects for frame in frames) <= 0.22
    before, after = count_negatives(frames, "as_negative"), count_negatives(frames, "hold")
    assert before.num_waiting == 0
    assert before.wrong >= 500
    assert after.wrong <= 0.1 * before.wrong
    assert after.correct >= 0.9 * before.correct
    # no range of confidences covers objects without any box, so they are counted separately
    assert 0 < after.silent <= before.silent
    assert before.silent <= 0.05 * before.wrong
