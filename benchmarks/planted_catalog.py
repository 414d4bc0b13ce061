"""Plant a catalog with many videos in every status with a few statements, as a load for planners and listings.

No video file is created, so this can only measure code that reads only the catalog.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import bindparam, text

from data_miner_dagster.catalog.batches import take_batch
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.pending import frames_basis_of, refresh_bases
from data_miner_dagster.catalog.projects import find_projects, update_project
from data_miner_dagster.catalog.schema import UtcDateTime, utc_now
from data_miner_dagster.domain.work import VIDEO_STAGES, WorkStage
from data_miner_dagster.operations.bases import bases_in_force
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.registering import register_project_file

_PROJECT: Final = """\
name: {name}
sourcing: {{sources: [{{type: urls, urls: ["https://example.org/{name}.mp4"]}}]}}
filtering: {{positive: [a bicycle]}}
detection: {{classes: {{bicycle: []}}}}
"""
_NUMBERS: Final = (
    "WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :num_videos) "
)
_VIDEOS: Final = """
SELECT 'generic-' || (1000000 + i), 'https://example.org/v/' || i || '.mp4', 'foreign', 'video ' || i, 60.0,
    CASE WHEN i % 20 < 5 THEN 'PENDING' WHEN i % 20 = 5 THEN 'UNAVAILABLE' WHEN i % 20 < 8 THEN 'FAILED'
        WHEN i % 20 < 10 THEN 'DOWNLOADED' ELSE 'EXTRACTED' END,
    CASE WHEN i % 20 = 5 THEN 'private' WHEN i % 20 IN (6, 7) THEN 'transient' END,
    CASE WHEN i % 20 = 5 THEN 'private' WHEN i % 20 IN (6, 7) THEN 'HTTP 500' END,
    CASE WHEN i % 20 < 5 THEN 0 ELSE 1 END,
    CASE WHEN i % 20 = 5 THEN :in_a_month WHEN i % 20 IN (6, 7) THEN :in_six_hours END,
    CASE WHEN i % 20 >= 8 THEN 'video.mp4' END,
    CASE WHEN i % 20 >= 8 THEN 1000 END,
    CASE WHEN i % 20 >= 8 THEN 'sha256 ' || i END,
    CASE WHEN i % 20 >= 10 THEN 30 END,
    CASE WHEN i % 20 >= 10 THEN :frames_basis END,
    CASE WHEN i % 20 >= 12 THEN :embedding_basis END,
    :now, :now
FROM numbers
"""
_COLUMNS: Final = (
    "key, url, origin, title, duration_seconds, status, error_kind, error, attempts, retry_after, file_name, "
    "size_bytes, sha256, num_frames, frames_basis, embedding_basis, created_at, updated_at"
)
_MEMBERS: Final = """
SELECT :name, 'generic-' || (1000000 + i), 'urls', '', i, :now, 'PENDING'
FROM numbers WHERE i % :num_projects IN (:index, (:index + 1) % :num_projects)
"""
_DATES: Final = [bindparam(name, type_=UtcDateTime()) for name in ("now", "in_a_month", "in_six_hours")]


def plant_videos(database: Database, num_videos: int, projects: Sequence[str], bases: dict[WorkStage, str]) -> None:
    """Add videos in every status, each to two of the existing projects, and determine the pending work.

    Of every twenty videos, five are new, three have failed, two are downloaded, two extracted and eight embedded.
    """
    now = utc_now()
    with database.transaction() as session:
        session.execute(
            text(f"INSERT INTO videos ({_COLUMNS}) {_NUMBERS} {_VIDEOS}").bindparams(*_DATES),
            {
                "num_videos": num_videos,
                "now": now,
                "in_a_month": now + timedelta(days=30),
                "in_six_hours": now + timedelta(hours=6),
                "frames_basis": frames_basis_of("", bases[WorkStage.EXTRACTION]),
                "embedding_basis": bases[WorkStage.EMBEDDING],
            },
        )
        members = text(
            "INSERT INTO project_videos (project_name, video_key, source, query, rank, found_at, status) "
            f"{_NUMBERS} {_MEMBERS}"
        ).bindparams(_DATES[0])
        for index, name in enumerate(projects):
            parameters = {"name": name, "index": index, "num_projects": len(projects)}
            session.execute(members, {**parameters, "num_videos": num_videos, "now": now})
    refresh_bases(database, bases)


def plant_root(platform: Platform, num_videos: int, *, num_projects: int = 50, num_batches: int = 2) -> None:
    """Fill an empty root with watched projects, their videos, and batches in flight."""
    folder = platform.layout.project_files
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_projects):
        path = folder / f"p{index:03}.yaml"
        path.write_text(_PROJECT.format(name=path.stem), encoding="utf-8")
        register_project_file(platform, path)
    for row in find_projects(platform.database):
        update_project(platform.database, row.name, sourced_config_hash=row.config_hash, sourced_at=utc_now())
    names = [row.name for row in find_projects(platform.database)]
    plant_videos(platform.database, num_videos, names, dict(bases_in_force(platform)))
    for stage in VIDEO_STAGES:
        for _ in range(num_batches):
            take_batch(platform.database, stage)
