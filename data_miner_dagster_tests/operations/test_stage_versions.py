import json
from pathlib import Path

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.versions import FIRST_BUILD_VERSIONS
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.stage_versions import read_stage_versions, record_stage_versions


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Platform(PlatformConfig(), tmp_path)


def test_read_stage_versions__none_kept_are_those_of_the_first_version(platform: Platform) -> None:
    assert read_stage_versions(platform, "bikes") == {
        "scoring": 1,
        "filtering": 1,
        "deduplication": 2,
        "detection": 1,
        "releasing": 2,
        "report": 2,
    }


def test_record_stage_versions__keeps_what_other_stages_said(platform: Platform) -> None:
    record_stage_versions(platform, "bikes", scoring=1, filtering=1)  # even if nothing differs from 0.1.0
    kept = json.loads(platform.layout.stage_versions("bikes").read_text())
    assert kept == {"scoring": 1, "filtering": 1}  # stages that have not run yet are missing
    record_stage_versions(platform, "bikes", deduplication=3)
    record_stage_versions(platform, "bikes", filtering=2)
    assert read_stage_versions(platform, "bikes") == {**FIRST_BUILD_VERSIONS, "deduplication": 3, "filtering": 2}


def test_record_stage_versions__the_same_again_writes_nothing(platform: Platform) -> None:
    record_stage_versions(platform, "bikes", deduplication=3)
    before = platform.layout.stage_versions("bikes").stat()
    record_stage_versions(platform, "bikes", deduplication=3)
    assert platform.layout.stage_versions("bikes").stat() == before


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"filtering": "x"}', b'{"filtering": null}', b"\xff", b"[" * 9999]
)
def test_read_stage_versions__a_damaged_file_is_none(platform: Platform, content: bytes) -> None:
    path = platform.layout.stage_versions("bikes")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert read_stage_versions(platform, "bikes") == FIRST_BUILD_VERSIONS
    record_stage_versions(platform, "bikes", report=3)
    assert read_stage_versions(platform, "bikes") == {**FIRST_BUILD_VERSIONS, "report": 3}
