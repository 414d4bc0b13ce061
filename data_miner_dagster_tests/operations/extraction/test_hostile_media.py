"""Run a tenth of `benchmarks.hostile_media`: mutants give frames or a reason, and do no other harm."""

from pathlib import Path

import pytest

from benchmarks.hostile_media import FAULTS, num_faults, try_pictures, try_videos

pytestmark = pytest.mark.slow(11)

NONE = dict.fromkeys(FAULTS, 0)


def test_hostile_videos(tmp_path: Path) -> None:
    tally = try_videos(tmp_path / "videos", 50, seed=2)
    assert sum(tally.values()) == 2 * 50
    assert num_faults(tally) == NONE
    assert tally["frames: ok"] > 20, "mutants that are nothing but noise prove nothing"


def test_hostile_pictures(tmp_path: Path) -> None:
    tally = try_pictures(tmp_path / "pictures", 30, seed=2)
    assert tally["imported: ok"] == 30
    assert num_faults(tally) == NONE
