from pathlib import Path

from data_miner_dagster.sensors.states import project_states
from data_miner_dagster.storage.verdicts import FrameVerdict, write_verdicts
from data_miner_dagster_tests.support.sample_project import build_project


def test_project_states__a_project_of_whose_frames_people_said_something(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="sourcing")
    (before,) = project_states(platform)
    assert before.verdicts is None
    verdict = FrameVerdict("files-aaa/000001", 1.0, True, "Ada", "2026-01-02T03:04:05Z")
    write_verdicts(platform.layout.frame_verdicts("cyclists"), {("files-aaa", 1.0): verdict})
    (after,) = project_states(platform)
    assert after.verdicts is not None
