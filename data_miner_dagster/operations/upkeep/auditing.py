"""Compare the bases in the catalog with the files when this version first opens a root, and gradually afterwards.

A basis identifies the inputs that a result was made from. Planners trust the bases in the catalog. File changes that
bypass the catalog are detected here, or by the code that uses the files.
"""

import logging
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from data_miner_dagster.catalog.pending import bases_on_record, frames_basis_of, mark_built, record_bases, refresh_bases
from data_miner_dagster.catalog.projects import find_projects, project_progress
from data_miner_dagster.catalog.releases import num_released_videos
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import count_by_frames_basis, extracted_keys, find_videos
from data_miner_dagster.catalog.writers import lock_videos
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of
from data_miner_dagster.domain.keys import FRAMES_PREFIX
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.domain.versions import EXTRACTION_VERSION
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.bases import bases_in_force, embedding_basis, extraction_basis
from data_miner_dagster.operations.builds import present_basis
from data_miner_dagster.operations.extraction.extract_frames import frames_fingerprint
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.frames import frames_identity
from data_miner_dagster.storage.vectors import read_vectors_fingerprint

logger = logging.getLogger(__name__)

OF_SOMETHING_ELSE: Final = "other"
"""The basis recorded for frames that no version of extraction would produce with the current settings."""
_AT_ONCE: Final = 500
"""The number of videos examined between two transactions."""
_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of examining the files of some videos."""

    num_videos: int  # EXTRACTED videos, including those whose files could not be examined
    changed: tuple[str, ...]  # keys of the videos whose bases in the catalog were corrected


@dataclass(frozen=True, slots=True)
class _Bases:
    """The bases of one video, according to the catalog or the files."""

    frames: str | None
    embedding: str | None


def audit_files(platform: Platform, video_keys: Collection[str]) -> Audit:
    """Examine the files of the given videos that are EXTRACTED, and correct these videos' bases in the catalog.

    Missing or stale results then become pending. A video is left unchanged if its bases change in the meantime
    or its files cannot be examined.
    """
    rows = [row for row in find_videos(platform.database, video_keys) if row.status is VideoStatus.EXTRACTED]
    changed: set[str] = set()
    for start in range(0, len(rows), _AT_ONCE):
        found: dict[str, _Bases] = {}
        for row in rows[start : start + _AT_ONCE]:
            try:
                of_files = _bases_of_files(platform, row)
            except OSError as error:  # the disk or permissions are the cause; code that needs the files reports it
                reason = error.strerror or error
                logger.warning(
                    "the files of video %s cannot be examined (%s); the video stays unchanged", row.key, reason
                )
                continue
            if of_files != _Bases(row.frames_basis, row.embedding_basis):
                found[row.key] = of_files
        seen = {row.key: _Bases(row.frames_basis, row.embedding_basis) for row in rows[start : start + _AT_ONCE]}
        changed.update(_record(platform, seen, found))
    return Audit(len(rows), tuple(sorted(changed)))


def _record(platform: Platform, seen: dict[str, _Bases], found: dict[str, _Bases]) -> list[str]:
    """Record the bases in `found`, except for videos that no longer have the bases in `seen`.

    Returns:
        The keys of the videos whose bases were recorded.
    """
    if not found:
        return []
    with platform.database.transaction() as session:
        lock_videos(session, found)
        same = [
            key
            for key in sorted(found)
            if (row := session.get(VideoRow, key)) is not None
            and _Bases(row.frames_basis, row.embedding_basis) == seen[key]
        ]
        record_bases(session, WorkStage.EXTRACTION, {key: found[key].frames for key in same})
        record_bases(session, WorkStage.EMBEDDING, {key: found[key].embedding for key in same})
    return same


def _bases_of_files(platform: Platform, row: VideoRow) -> _Bases:
    stored = frames_identity(platform.layout, row.key)
    if stored is None:
        return _Bases(None, None)
    encoder = platform.models.filter_encoder
    embedded = read_vectors_fingerprint(platform.layout.embedding_file(encoder.name, row.key))
    is_current = embedded == embeddings_fingerprint_of(stored.fingerprint, encoder.fingerprint)
    of_embedding = embedding_basis(encoder) if is_current else None
    return _Bases(_basis_of_frames(row, stored.fingerprint, platform.config.extraction), of_embedding)


def _basis_of_frames(row: VideoRow, fingerprint: str, config: ExtractionConfig) -> str:
    for version in range(EXTRACTION_VERSION, 0, -1):
        if fingerprint == frames_fingerprint(row.key, row.sha256 or "", config, version=version):
            return frames_basis_of(row.key, extraction_basis(config, version=version))
    return OF_SOMETHING_ELSE


def audit_next(platform: Platform, after: str | None, *, max_videos: int) -> str | None:
    """Examine the files of the videos that follow `after`, in order of their keys. Log a warning about corrections.

    Returns:
        The last key examined, to pass as `after` next time, or None if fewer than `max_videos` were left.
    """
    keys = extracted_keys(platform.database, after=after, limit=max_videos)
    audit = audit_files(platform, keys)
    if audit.changed:
        changed = counted(len(audit.changed), "video")
        named = ", ".join(audit.changed[:_MOST_NAMED]) + (", ..." if len(audit.changed) > _MOST_NAMED else "")
        logger.warning(
            "the catalog did not match the files of %s (%s); it was corrected, so missing or stale results are pending",
            changed,
            named,
        )
    return keys[-1] if len(keys) == max_videos else None


def settle_bases(platform: Platform, *, max_seconds: float | None = None) -> bool:
    """Mark results as pending if they were made with settings, versions or weights that differ from the current ones.

    This is cheap if the catalog already records the current bases. A catalog from an earlier version has no bases, so
    they are first read from the files. Reading stops after about `max_seconds`, or has no limit if `max_seconds` is
    None.

    Returns:
        False if reading the files took longer than `max_seconds` and the caller must call this function again;
            otherwise True. Nothing becomes pending until all files have been read.
    """
    bases = bases_in_force(platform)
    on_record = bases_on_record(platform.database)
    if dict(bases).items() <= on_record.items():
        return True
    if WorkStage.EXTRACTION not in on_record and not _read_bases(platform, max_seconds):
        return False
    num_rows = refresh_bases(platform.database, bases)
    logger.debug("%s became pending", counted(num_rows, "video"))
    if WorkStage.EXTRACTION not in on_record:
        _keep_builds(platform)
    return True


def _keep_builds(platform: Platform) -> None:
    """In a root from an earlier version, mark as built the projects whose last release has all their videos.

    Otherwise, merely updating this package would start builds.
    """
    rows = {row.name: row for row in find_projects(platform.database)}
    built: dict[str, str] = {}
    for progress in project_progress(platform.database):
        row = rows[progress.name]
        is_whole = progress.num_extracted == num_released_videos(platform.database, row.name)
        if row.stage is ProjectStage.COMPLETE and is_whole:
            built[row.name] = present_basis(platform, row)
    mark_built(platform.database, built)


def _read_bases(platform: Platform, max_seconds: float | None) -> bool:
    """Record the bases of all extracted videos that lack them. Return whether `max_seconds` was enough."""
    began_at = time.monotonic()
    after: str | None = None
    while keys := extracted_keys(platform.database, after=after, limit=_AT_ONCE, only_without_basis=True):
        audit_files(platform, keys)
        after = keys[-1]
        if max_seconds is not None and time.monotonic() - began_at > max_seconds:
            return False
    return True


def count_earlier_frames(platform: Platform, project: str | None = None) -> dict[int, int]:
    """Return the number of videos with frames from each earlier version of extraction, by version.

    If `project` is given, only its videos are counted. Frames that no version would produce with the current settings
    are not included.
    """
    config, counts = platform.config.extraction, Counter[int]()
    by_basis = count_by_frames_basis(platform.database, project)
    for version in range(1, EXTRACTION_VERSION):
        basis = extraction_basis(config, version=version)
        counts[version] = by_basis.get(frames_basis_of("", basis), 0)
        counts[version] += by_basis.get(frames_basis_of(FRAMES_PREFIX, basis), 0)
    return {version: count for version, count in sorted(counts.items()) if count}
