"""Run a tenth of `benchmarks.hostile_sites`: pages and feeds give a video or a reason, and do no other harm."""

from pathlib import Path

import pytest

from benchmarks.hostile_sites import FAULTS, cases, try_sites

pytestmark = pytest.mark.slow(12)


def test_hostile_sites(tmp_path: Path) -> None:
    tally = try_sites(tmp_path / "sites", every=10)
    assert tally["cases"] == len(cases("http://h")[::10]) == 10
    assert {fault: tally[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0)
