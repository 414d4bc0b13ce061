"""Follow `How to add a stage of a project`: `linking`, between detection and the release."""

import sys
from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.recipes.following import copy_of_package, run, unnamed_files, use

NEW_FILES: Final = {
    "config/linking.py": '''
"""The `linking` section."""

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel


class LinkingConfig(ConfigModel):
    """Which boxes are of the same thing."""

    within_seconds: float = Field(2.0, gt=0)
    """A box of the same class this soon after another continues its track."""
''',
    "stages/linking.py": '''
"""Which boxes are of the same thing."""

from collections.abc import Sequence


def track_of_each(pts_seconds: Sequence[float], *, within_seconds: float) -> list[int]:
    """Return (N,) the number of the track of each box of one class, given in order of time."""
    tracks: list[int] = []
    for index, pts in enumerate(pts_seconds):
        is_continued = index > 0 and pts - pts_seconds[index - 1] <= within_seconds
        tracks.append(tracks[-1] + (not is_continued) if tracks else 0)
    return tracks
''',
    "operations/linking/__init__.py": '"""Tracks of boxes."""\n',
    "operations/linking/link_project.py": '''
"""tracks.parquet: which boxes of a project are of the same thing."""

from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.tables import TRACKS_SCHEMA
from data_miner_dagster.domain.versions import LINKING_VERSION
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage, require_table
from data_miner_dagster.stages.linking import track_of_each
from data_miner_dagster.storage.tables import MADE_FROM_KEY, read_fingerprint, read_table, table_from_rows, write_table


def link_project(platform: Platform, project: str, *, force: bool = False) -> ProjectOutcome:
    """Follow the boxes of each class through each video."""
    config = platform.project_config(project).linking
    path = platform.layout.table_of(project, ProjectStage.LINKING)
    with project_stage(platform, project, ProjectStage.LINKING) as stage:
        detected = require_table(platform, project, ProjectStage.DETECTION)
        settings = config.model_dump(mode="json")
        fingerprint = fingerprint_of({"detections": detected, "linking": settings, "version": LINKING_VERSION})
        if not force and read_fingerprint(path) == fingerprint:
            return ProjectOutcome(project, OutcomeStatus.REUSED, fingerprint, {})
        stage.begin()
        boxes = read_table(platform.layout.detections_table(project), ["frame_id", "frame_index"]).to_pylist()
        tracks = track_of_each([float(box["frame_index"]) for box in boxes], within_seconds=config.within_seconds)
        rows = [{"frame_id": box["frame_id"], "track": track} for box, track in zip(boxes, tracks, strict=True)]
        made_from = {MADE_FROM_KEY: detected}
        write_table(path, table_from_rows(rows, TRACKS_SCHEMA), fingerprint=fingerprint, metadata=made_from)
        return ProjectOutcome(project, OutcomeStatus.DONE, fingerprint, {"boxes": len(rows)})
''',
    "assets/linking.py": '''
"""The asset `tracks`."""

import dagster as dg

from data_miner_dagster.assets.outcomes import OWNERS, ForceConfig, materialize_project
from data_miner_dagster.domain.statuses import ProjectStage, asset_before
from data_miner_dagster.domain.versions import LINKING_VERSION
from data_miner_dagster.partitions import PROJECTS
from data_miner_dagster.resources.platform import PlatformResource


@dg.asset(
    partitions_def=PROJECTS,
    deps=[asset_before(ProjectStage.LINKING)],
    group_name="dataset",
    kinds={"parquet"},
    owners=OWNERS,
    tags={"scope": "project"},
    pool="inference",
    code_version=str(LINKING_VERSION),
)
def tracks(
    context: dg.AssetExecutionContext, config: ForceConfig, platform: PlatformResource
) -> dg.MaterializeResult[None]:
    """Which boxes of a video are of the same thing."""
    from data_miner_dagster.operations.linking.link_project import link_project

    opened = platform.open()
    return materialize_project(
        context, lambda project: link_project(opened, project, force=config.force), lambda project: {}
    )
''',
    "asset_checks/linking.py": '''
"""The check of `tracks`."""

import dagster as dg

from data_miner_dagster.assets.linking import tracks
from data_miner_dagster.partitions import PROJECTS


@dg.asset_check(asset=tracks, partitions_def=PROJECTS, blocking=True)
def every_box_has_a_track(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Every box has a track."""
    return dg.AssetCheckResult(passed=True)
''',
}

CHANGES: Final = {
    "domain/versions.py": {
        "RELEASING_VERSION: Final = ": (
            'LINKING_VERSION: Final = 1\n"""Raise it when the same boxes yield other tracks."""\n\n'
            "RELEASING_VERSION: Final = "
        ),
    },
    "domain/statuses.py": {
        '    RELEASING_READY = "RELEASING_READY"\n': (
            '    LINKING_READY = "LINKING_READY"\n    LINKING = "LINKING"\n    RELEASING_READY = "RELEASING_READY"\n'
        ),
        "    ProjectStage.RELEASING: StageOnTheWay(": (
            '    ProjectStage.LINKING: StageOnTheWay(ProjectStage.LINKING_READY, "tracks", "tracks.parquet"),\n'
            "    ProjectStage.RELEASING: StageOnTheWay("
        ),
    },
    "domain/work.py": {
        '    RELEASING = "RELEASING"\n': '    LINKING = "LINKING"\n    RELEASING = "RELEASING"\n',
    },
    "jobs.py": {
        "    WorkStage.RELEASING: ": '    WorkStage.LINKING: "track_objects",\n    WorkStage.RELEASING: ',
    },
    "domain/tables.py": {
        "DETECTED_FRAMES_SCHEMA: Final": (
            'TRACKS_SCHEMA: Final = pa.schema([not_null("frame_id", pa.string()), not_null("track", pa.int32())])\n'
            '"""projects/<name>/tracks.parquet: one row per box, in the order of detections.parquet."""\n\n'
            "DETECTED_FRAMES_SCHEMA: Final"
        ),
    },
    "config/settings.py": {
        "from data_miner_dagster.config.web import": (
            "from data_miner_dagster.config.linking import LinkingConfig\nfrom data_miner_dagster.config.web import"
        ),
        "    releasing: ReleasingConfig = ": (
            '    linking: LinkingConfig = LinkingConfig()\n    """Which boxes are of the same thing."""\n'
            "    releasing: ReleasingConfig = "
        ),
    },
}

USED: Final = """
import dagster as dg
import pytest
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.errors import NotReadyError, OutOfDateError
from data_miner_dagster.domain.versions import LINKING_VERSION
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.jobs import OP_BY_JOB, PROJECT_JOBS
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.linking.link_project import link_project
from data_miner_dagster.storage.tables import MADE_FROM_KEY, read_table, write_table
from data_miner_dagster_tests.support.sample_project import build_project

jobs = ("filter_frames", "deduplicate_frames", "detect_objects", "track_objects", "release_dataset")
assert PROJECT_JOBS == jobs
assert OP_BY_JOB["track_objects"] == "tracks"
nodes = set(defs.resolve_job_def("track_objects").graph.node_names())
assert nodes == {"tracks", "tracks_every_box_has_a_track"}
graph = defs.resolve_asset_graph()
assert graph.get(dg.AssetKey("tracks")).code_version == str(LINKING_VERSION)
for asset, before in (("tracks", "detections"), ("dataset", "tracks")):
    assert [key.to_user_string() for key in graph.get(dg.AssetKey(asset)).parent_keys] == [before]

platform = build_project(tmp_path / "root")
stage = lambda: find_project(platform.database, "cyclists").stage.value
with platform.database.transaction() as session:
    session.get_one(ProjectRow, "cyclists").stage = "LINKING_READY"
with pytest.raises(NotReadyError, match="has no tracks yet"):
    release_project(platform, "cyclists")
assert stage() == "LINKING_READY"
made = link_project(platform, "cyclists")
assert (made.status.value, stage()) == ("done", "RELEASING_READY")
assert link_project(platform, "cyclists").status.value == "reused"
release = release_project(platform, "cyclists")
assert (release.status.value, release.metadata["version"], stage()) == ("done", "v001", "COMPLETE")
manifest = read_manifest(platform.layout.release_folder("cyclists", "v001"))
assert manifest["config"]["linking"] == {"within_seconds": 2.0}
path = platform.root / "projects/cyclists/tracks.parquet"
table = read_table(path)
write_table(path, table, fingerprint=made.fingerprint, metadata={MADE_FROM_KEY: "of other detections"})
with pytest.raises(OutOfDateError, match="tracks is out of date .it was not made from the current detections."):
    release_project(platform, "cyclists")
assert stage() == "FAILED"
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package, with the stage added as the recipe says."""
    copy = copy_of_package(tmp_path / "copy", NEW_FILES, CHANGES)
    contracts = (copy / "setup.cfg").read_text()
    assert contracts.count("    reviewing\n    detection\n") == 1  # layers of stages/
    assert contracts.count("    reporting\n    detection\n") == 1  # layers of operations/
    for above in ("reviewing", "reporting"):
        contracts = contracts.replace(f"    {above}\n    detection\n", f"    {above}\n    linking\n    detection\n")
    (copy / "setup.cfg").write_text(contracts)
    return copy


@pytest.mark.slow
def test_recipe_of_a_stage__what_it_names_is_enough(copy: Path) -> None:
    use(copy, USED)


def test_recipe_of_a_stage__keeps_the_contracts_of_the_rooms(copy: Path) -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    assert "0 broken" in run([str(linter), "--config", "setup.cfg", "--no-cache"], copy)


def test_recipe_of_a_stage__names_every_file() -> None:
    touched = [name for name in (*CHANGES, *NEW_FILES, "setup.cfg") if not name.endswith("__init__.py")]
    assert unnamed_files("How to add a stage of a project", touched) == []
