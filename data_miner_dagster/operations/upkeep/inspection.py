"""Find differences between the catalog and the files, and repair them.

Belongs here: the catalog and the files. Does not belong here: comparing Dagster's partitions (cli/doctor.py).
"""

import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.catalog.upkeep import delete_dead_claims, reset_orphans
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.domain.errors import ClaimHeldError
from data_miner_dagster.domain.leftovers import is_held
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.domain.statuses import PROJECT_WAY, STATUSES_WITHOUT_FILE, VideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.bases import bases_in_force
from data_miner_dagster.operations.damage import find_damaged_files, remove_damaged_files
from data_miner_dagster.operations.downloading.partial_folders import is_partial_download
from data_miner_dagster.operations.item_faults import attempt_alone
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.unfinished import (
    find_unfinished_rebuilds,
    is_unfinished_rebuild,
    remove_unfinished_rebuild,
)
from data_miner_dagster.operations.releasing.unfinished_exports import (
    exported_project,
    find_unfinished_exports,
    remove_unfinished_export,
)
from data_miner_dagster.operations.upkeep.auditing import audit_files
from data_miner_dagster.storage.atomic import PARTIAL_MARK, is_partial_of
from data_miner_dagster.storage.changing_folders import modified_at, paths_below
from data_miner_dagster.storage.frames import has_frames
from data_miner_dagster.storage.layout import StorageLayout

_OF_THE_FILE: Final = ("sha256", "file_name", "size_bytes", "stored_bytes")
PARTIAL_AGE_SECONDS: Final = 3600.0
"""A partial file younger than this counts as in use, because some writers, such as the report writer, hold no claim."""


class Discrepancy(StrEnum):
    """A kind of disagreement between the catalog and the files or Dagster's partitions."""

    FRAMES_MISSING = "frames_missing"  # EXTRACTED, without frames.parquet
    EMBEDDINGS_MISSING = "embeddings_missing"  # recorded, without a file
    VIDEO_MISSING = "video_missing"  # DOWNLOADED, without info.json
    WORKER_GONE = "worker_gone"  # a working status, without a live claim
    STRAY_FILES = "stray_files"  # files of a video that is not in the catalog
    STRAY_PROJECT = "stray_project"  # tables of a project that is not in the catalog
    PARTIAL = "partial"  # left by a killed writer
    DAMAGED = "damaged"  # a file that cannot be read
    RELEASE_MISSING = "release_missing"  # recorded, without a folder
    PARTITION_MISSING = "partition_missing"  # in the catalog, not in Dagster
    PARTITION_STRAY = "partition_stray"  # in Dagster, not in the catalog


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the catalog and the files or Dagster's partitions.

    `subject` is a video key, a project, a release, or a path relative to the root. `remedy` states what `doctor --fix`
    does, or what a person must do if `is_fixable` is False.
    """

    drift: Discrepancy
    subject: str
    remedy: str
    is_fixable: bool = True


def inspect_platform(platform: Platform) -> list[Finding]:
    """Return every difference between the catalog and the files, in a fixed order. Nothing is changed."""
    videos = {video.key: video for video in find_videos(platform.database)}
    claimed = {claim.resource for claim in live_claims(platform.database)}
    known = [
        *_of_videos(platform, list(videos.values()), claimed),
        *_of_projects(platform, claimed),
        *_strays(platform, videos),
        *_partials(platform, videos),
        *_unfinished_rebuilds(platform),
        *_unfinished_exports(platform),
        *_releases(platform),
    ]
    subjects = {finding.subject for finding in known}
    return [*known, *(finding for finding in _damaged(platform) if finding.subject not in subjects)]


@dataclass(frozen=True, slots=True)
class VideoFiles:
    """The number of videos that should have the files of a stage, and the number whose files are missing."""

    num_videos: int
    num_missing: int

    @property
    def line(self) -> str | None:
        """The number of videos whose files are missing, and the remedy, or None if no files are missing."""
        if not self.num_missing:
            return None
        return (
            f"files are missing for {self.num_missing:,} of {counted(self.num_videos, 'video')}; run "
            "`data-miner doctor` to list them, and `data-miner doctor --fix` so that they are recreated"
        )


def look_for_files(platform: Platform) -> dict[WorkStage, VideoFiles]:
    """Return the `VideoFiles` of downloading, extraction and embedding, by stage. Nothing is changed."""
    videos = find_videos(platform.database)
    claimed = {claim.resource for claim in live_claims(platform.database)}
    embedded = bases_in_force(platform).get(WorkStage.EMBEDDING)
    missing = Counter(found.drift for found in _of_videos(platform, videos, claimed))
    num_embedded = sum(video.embedding_basis is not None and video.embedding_basis == embedded for video in videos)
    by_status = Counter(video.status for video in videos)
    return {
        # An extracted video may lack its file, which may be removed once its frames exist.
        WorkStage.DOWNLOADING: VideoFiles(by_status[VideoStatus.DOWNLOADED], missing[Discrepancy.VIDEO_MISSING]),
        WorkStage.EXTRACTION: VideoFiles(by_status[VideoStatus.EXTRACTED], missing[Discrepancy.FRAMES_MISSING]),
        WorkStage.EMBEDDING: VideoFiles(num_embedded, missing[Discrepancy.EMBEDDINGS_MISSING]),
    }


def mend_platform(platform: Platform, findings: Sequence[Finding]) -> int:
    """Apply the findings' remedies where that is safe. Return the number of repairs. A repeated call is harmless."""
    num_mended = 0
    if any(finding.drift is Discrepancy.WORKER_GONE for finding in findings):
        num_mended += len(reset_orphans(platform.database))
        delete_dead_claims(platform.database)
    for finding in findings:
        was_fixed = attempt_alone("doctor", finding.subject, partial(_mend, platform, finding))
        num_mended += was_fixed is True
    if any(finding.drift is Discrepancy.DAMAGED and finding.is_fixable for finding in findings):
        removed = remove_damaged_files(platform.layout)
        num_mended += len(removed)
        for path in removed:
            if path.parent.parent in (platform.layout.frames, platform.layout.videos):
                _step_back(platform, path.parent.name)
        audit_files(platform, {path.stem for path in removed if path.parent.parent == platform.layout.embeddings})
    return num_mended


def _mend(platform: Platform, finding: Finding) -> bool:
    """Repair one finding, unless its kind is repaired for all findings together. Return whether it was repaired."""
    if finding.drift in (Discrepancy.FRAMES_MISSING, Discrepancy.VIDEO_MISSING):
        return _step_back(platform, finding.subject)
    if finding.drift is Discrepancy.EMBEDDINGS_MISSING:
        return bool(audit_files(platform, [finding.subject]).changed)
    path = platform.root / finding.subject
    if finding.drift not in (Discrepancy.STRAY_FILES, Discrepancy.PARTIAL) or not path.exists():
        return False
    if is_unfinished_rebuild(platform, path):
        return remove_unfinished_rebuild(platform, path)
    if exported_project(platform, path) is not None:
        return remove_unfinished_export(platform, path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return True


def _of_videos(platform: Platform, videos: Sequence[VideoRow], claimed: set[str]) -> Iterator[Finding]:
    layout, encoder = platform.layout, platform.models.filter_encoder.name
    embedded = bases_in_force(platform).get(WorkStage.EMBEDDING)
    for video in videos:
        if f"video/{video.key}" in claimed:
            continue
        if video.status in (VideoStatus.DOWNLOADING, VideoStatus.EXTRACTING):
            yield Finding(Discrepancy.WORKER_GONE, video.key, f"reset it from {video.status}; a run resumes it")
        elif video.status is VideoStatus.EXTRACTED and not has_frames(layout, video.key):
            yield Finding(Discrepancy.FRAMES_MISSING, video.key, "reset it, so that its frames are recreated")
        elif video.embedding_basis is not None and video.embedding_basis == embedded:
            if not layout.embedding_file(encoder, video.key).exists():
                yield Finding(Discrepancy.EMBEDDINGS_MISSING, video.key, "request its embeddings again")
        elif video.status is VideoStatus.DOWNLOADED and not layout.video_info(video.key).exists():
            yield Finding(Discrepancy.VIDEO_MISSING, video.key, "reset it, so that it is downloaded again")


def _of_projects(platform: Platform, claimed: set[str]) -> Iterator[Finding]:
    for project in find_projects(platform.database):
        if project.stage in PROJECT_WAY and f"project/{project.name}" not in claimed:
            yield Finding(Discrepancy.WORKER_GONE, project.name, f"reset it from {project.stage}; a run resumes it")


def _step_back(platform: Platform, video_key: str) -> bool:
    layout = platform.layout
    try:
        with platform.hold_video(video_key, wait_seconds=0), platform.database.transaction() as session:
            video = session.get(VideoRow, video_key)
            if video is None or (video.status is VideoStatus.EXTRACTED and has_frames(layout, video_key)):
                return False
            has_file = layout.video_info(video_key).exists()
            target = VideoStatus.DOWNLOADED if has_file else VideoStatus.PENDING
            only_from = {VideoStatus.EXTRACTED, VideoStatus.DOWNLOADED} - {target}
            forgotten = {} if has_file else dict.fromkeys(_OF_THE_FILE)
            no_frames = {"num_frames": None, "frames_bytes": None}
            return move_video(session, video_key, target, only_from=only_from, **no_frames, **forgotten)
    except ClaimHeldError:
        return False


def _strays(platform: Platform, videos: dict[str, VideoRow]) -> Iterator[Finding]:
    layout = platform.layout
    projects = {row.name for row in find_projects(platform.database)}
    for path in (*_stray_files(layout, videos), *_stray_previews(layout, videos, projects)):
        remedy = "remove it, because it belongs to nothing in the catalog"
        yield Finding(Discrepancy.STRAY_FILES, str(path.relative_to(layout.root)), remedy)
    for entry in _entries(layout.projects):
        if entry.name not in projects:
            yield Finding(
                Discrepancy.STRAY_PROJECT,
                str(entry.relative_to(layout.root)),
                "remove it by hand, or register the project again with `data-miner populate --config FILE`",
                is_fixable=False,
            )


def _stray_files(layout: StorageLayout, videos: Collection[str]) -> Iterator[Path]:
    for folder in (layout.videos, layout.frames, layout.windows):
        yield from (entry for entry in _entries(folder) if entry.name not in videos)
    for encoder in _entries(layout.embeddings):
        for entry in _entries(encoder):
            # Embeddings of prompts are in a folder beside those of videos.
            if entry.suffix == ".npz" and "-" in entry.stem and entry.is_file() and entry.stem not in videos:
                yield entry


def _stray_previews(layout: StorageLayout, videos: Collection[str], projects: Collection[str]) -> Iterator[Path]:
    yield from (entry for entry in _entries(layout.video_previews) if entry.stem not in videos)
    yield from (entry for entry in _entries(layout.all_project_previews) if entry.name not in projects)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith((PARTIAL_MARK, ".")))


def _partials(platform: Platform, videos: Mapping[str, VideoRow]) -> Iterator[Finding]:
    """Yield a finding for each old partial file without a live writer, down to two levels below the root's folders.

    Interrupted downloads of videos without a file are not included, because the next attempt resumes them.
    """
    layout = platform.layout
    at_work = {claim.token for claim in live_claims(platform.database)}
    derived = (layout.embeddings, layout.projects, layout.releases, layout.previews)
    rooms = (layout.videos, layout.frames, layout.windows, *derived)
    for room in rooms:
        for pattern in (f"{PARTIAL_MARK}*", f"*/{PARTIAL_MARK}*", f"*/*/{PARTIAL_MARK}*"):
            for path in paths_below(room, pattern):
                inside_another = any(part.startswith(PARTIAL_MARK) for part in path.relative_to(room).parts[:-1])
                video = videos.get(path.parent.name)
                is_resumable = video is not None and video.status in STATUSES_WITHOUT_FILE and is_partial_download(path)
                if not (inside_another or is_resumable or is_partial_of(path.name, at_work)):
                    yield from _abandoned(platform, path)
    # partial files of writers without a claim: settings, copies of the catalog, backups
    for room in (layout.root, layout.dagster_home, layout.project_files):
        for path in paths_below(room, f"{PARTIAL_MARK}*"):
            if not is_unfinished_rebuild(platform, path) and exported_project(platform, path) is None:
                yield from _abandoned(platform, path)


def _abandoned(platform: Platform, path: Path) -> Iterator[Finding]:
    """Yield a finding for a partial file or folder if it is old and no process holds it."""
    modified = modified_at(path)
    if modified is not None and modified < time.time() - PARTIAL_AGE_SECONDS and not is_held(path):
        subject = str(path.relative_to(platform.root))
        yield Finding(Discrepancy.PARTIAL, subject, "remove it, since its writer has ended")


def _unfinished_rebuilds(platform: Platform) -> Iterator[Finding]:
    """Yield a finding for each folder left behind by a rebuild that can no longer be continued."""
    for unfinished in find_unfinished_rebuilds(platform):
        if not unfinished.arguments:
            yield Finding(
                Discrepancy.PARTIAL,
                str(unfinished.path.relative_to(platform.root)),
                f"remove it ({size_text(unfinished.size_bytes)}), since the release can no longer be rebuilt",
            )


def _unfinished_exports(platform: Platform) -> Iterator[Finding]:
    """Yield a finding for each folder that a killed export to a bucket or hub left in the root.

    The project's next single-format export to a bucket or hub would also remove the folder.
    """
    for unfinished in find_unfinished_exports(platform):
        yield Finding(
            Discrepancy.PARTIAL,
            str(unfinished.path.relative_to(platform.root)),
            f"remove it ({size_text(unfinished.size_bytes)}), since the export of {unfinished.project} has ended",
        )


def _damaged(platform: Platform) -> Iterator[Finding]:
    for damaged in find_damaged_files(platform.layout):
        remedy = "remove the file, so that it is recreated" if damaged.is_derived else "restore the file from a backup"
        yield Finding(
            Discrepancy.DAMAGED, str(damaged.path.relative_to(platform.root)), remedy, is_fixable=damaged.is_derived
        )


def _releases(platform: Platform) -> Iterator[Finding]:
    for project in find_projects(platform.database):
        for release in find_releases(platform.database, project.name):
            folder = platform.layout.release_folder(project.name, release.version)
            if not folder.is_dir() and release.withdrawn_reason is None:
                yield Finding(
                    Discrepancy.RELEASE_MISSING,
                    f"{project.name} {release.version}",
                    "restore its folder from a backup, or, if it was deleted on purpose, run "
                    f"`data-miner delete-release {project.name} {release.version}`",
                    is_fixable=False,
                )
