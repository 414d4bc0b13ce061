"""Test releases that are interrupted or damaged, or whose inputs have changed or disappeared."""

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.records import OutcomeStatus
from data_miner_dagster.operations.detection.detect_project import NUM_UNREADABLE_KEY
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reporting.funnel import FunnelStep, project_funnel
from data_miner_dagster.storage.tables import (
    FRAMES_KEY,
    MADE_FROM_KEY,
    read_fingerprint,
    read_table,
    write_table,
)
from data_miner_dagster_tests.operations.releasing.release_folders import files_of, release_folder
from data_miner_dagster_tests.support.releases import FORGETFUL
from data_miner_dagster_tests.support.sample_project import SAMPLE_VIDEOS, SampleVideo, build_project


def test_release_project__killed_before_the_row(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    before = files_of(platform.root / "releases")
    shutil.copytree(platform.root / "releases", tmp_path / "kept")
    again = build_project(tmp_path / "second")
    shutil.copytree(tmp_path / "kept", again.root / "releases")
    outcome = release_project(again, "cyclists")
    assert outcome.status is OutcomeStatus.REUSED
    assert [row.version for row in find_releases(again.database, "cyclists")] == ["v001"]
    assert files_of(again.root / "releases") == before


def test_release_project__killed_while_writing(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    leftover = platform.layout.releases_folder("cyclists") / ".partial-0123456789ab-v001"
    (leftover / "images").mkdir(parents=True)
    assert release_project(platform, "cyclists").metadata["version"] == "v001"
    assert [entry.name for entry in platform.layout.releases_folder("cyclists").iterdir()] == ["v001"]


def test_release_project__force_mends_a_damaged_release(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    before = files_of(platform.root / "releases")
    (release_folder(platform) / "annotations" / "instances_all.json").write_text("{}")
    assert release_project(platform, "cyclists").status is OutcomeStatus.REUSED
    assert release_project(platform, "cyclists", force=True).status is OutcomeStatus.DONE
    assert files_of(platform.root / "releases") == before
    assert release_project(platform, "cyclists", force=True).status is OutcomeStatus.REUSED


def _next_look(platform: Platform) -> datetime | None:
    row = find_project(platform.database, "cyclists")
    assert row is not None
    return row.look_again_at


def test_release_project__a_frame_that_changed_on_disk(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.frame_path("files-aaa", "000001.jpg")
    content = path.read_bytes()
    path.write_bytes(b"rotten")
    outcome = release_project(platform, "cyclists")
    assert (outcome.counts["images"], outcome.counts["left out"]) == (6, 1)
    manifest = json.loads((release_folder(platform, "v001") / "release.json").read_text())
    assert manifest["left_out"] == ["files-aaa/000001"]
    first = _next_look(platform)
    assert release_project(platform, "cyclists").metadata["version"] == "v001"  # nothing has changed
    second = _next_look(platform)
    assert first is not None
    assert second is not None
    assert second - first > timedelta(seconds=29)  # 60 s instead of 30 s
    path.write_bytes(content)
    whole = release_project(platform, "cyclists")
    assert (whole.metadata["version"], whole.counts["images"]) == ("v002", 7)
    assert _next_look(platform) is None


def test_release_project__goes_on_without_a_video_whose_frames_are_gone(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    platform.layout.frames_table("files-bbb").unlink()
    outcome = release_project(platform, "cyclists")
    assert outcome.counts["left out"] == 1
    (member,) = [row for row in find_members(platform.database, "cyclists") if row.video_key == "files-bbb"]
    assert (member.status.value, member.reason) == (
        "FAILED",
        "internal_error: the frames of files-bbb are missing; run `data-miner backfill --asset frames --project "
        "cyclists --force --keys-file FILE`, where FILE contains files-bbb, to extract its frames again",
    )


def test_release_project__stale_tables_are_refused(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    changed = [SampleVideo("files-aaa", num_frames=5, dropped={1: "junk"}), *SAMPLE_VIDEOS[1:]]
    build_project(tmp_path, videos=changed, through="filtering")
    with pytest.raises(DataMinerError, match="deduplicated_frames is out of date"):
        release_project(platform, "cyclists")


def test_release_project__a_table_made_from_an_older_one(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.detections_table("cyclists")
    rows, fingerprint = read_table(path).replace_schema_metadata(None), read_fingerprint(path)
    deduplicated = read_fingerprint(platform.layout.deduplicated_table("cyclists"))
    assert fingerprint is not None
    assert deduplicated is not None
    write_table(path, rows, fingerprint=fingerprint, metadata={MADE_FROM_KEY: "what deduplication said before"})
    with pytest.raises(DataMinerError, match="detections is out of date"):
        release_project(platform, "cyclists")
    write_table(path, rows, fingerprint=fingerprint, metadata={MADE_FROM_KEY: deduplicated})
    assert release_project(platform, "cyclists").status is OutcomeStatus.DONE


def test_release_project__frames_made_anew_since_they_were_chosen(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.deduplicated_table("cyclists")
    rows, fingerprint = read_table(path).replace_schema_metadata(None), read_fingerprint(path)
    frames = {key: read_fingerprint(platform.layout.frames_table(key)) for key in ("files-aaa", "files-bbb")}
    assert fingerprint is not None
    write_table(path, rows, fingerprint=fingerprint, metadata={FRAMES_KEY: json.dumps(frames | {"files-bbb": "old"})})
    with pytest.raises(DataMinerError, match="the frames of files-bbb were extracted again after filtering"):
        release_project(platform, "cyclists")
    write_table(path, rows, fingerprint=fingerprint, metadata={FRAMES_KEY: json.dumps(frames)})
    assert release_project(platform, "cyclists").status is OutcomeStatus.DONE


def test_release_project__frames_that_could_not_be_looked_at_are_left_out(tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    path = platform.layout.detected_frames_table("cyclists")
    rows = read_table(path).replace_schema_metadata(None)
    seen = rows.filter(pc.not_equal(rows["frame_id"], "files-bbb/000002"))
    write_table(path, seen, fingerprint="again")
    with pytest.raises(DataMinerError, match="representatives that no detector has examined"):
        release_project(platform, "cyclists")
    write_table(path, seen, fingerprint="again", metadata={NUM_UNREADABLE_KEY: "1"})
    assert release_project(platform, "cyclists").counts["images"] == 6
    assert _next_look(platform) is not None
    assert project_funnel(platform, "cyclists")[FunnelStep.DETECTED].lost == {"unreadable": 1}


def test_release_project__one_that_does_not_read_back_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = build_project(tmp_path)
    monkeypatch.setattr("data_miner_dagster.export.coco.CODEC", FORGETFUL)
    with pytest.raises(DataMinerError, match=r"release cyclists v001 cannot be read back: .*; nothing was published"):
        release_project(platform, "cyclists")
    assert list(platform.layout.releases_folder("cyclists").iterdir()) == []
    assert find_releases(platform.database, "cyclists") == []
