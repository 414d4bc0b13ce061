"""Removing videos and projects: rows first, then files, so that no row ever speaks of a file that is gone.

What a kill leaves between the two is a stray file, which `inspection.py` finds and removes.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.queries import projects_wanting, unwanted_videos
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.catalog.upkeep import delete_project, delete_videos, remember_forgotten, withdraw_release
from data_miner_dagster.config.loading import resolve_project_files
from data_miner_dagster.domain.errors import ClaimHeldError, ConfigError
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import atomic_path
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import read_metadata, read_table, write_table

WITHDRAWN_FILE: Final = "WITHDRAWN.txt"
"""Beside a release's manifest: why it should not be used any more."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed; what stayed, with the reason; and how much room it gave back."""

    removed: tuple[str, ...]
    kept: dict[str, str]
    freed_bytes: int


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What `forget_videos` did: videos removed, and the releases ("project version") that contained them."""

    removal: Removal
    withdrawn_releases: tuple[str, ...]


def remove_videos(platform: Platform, video_keys: Iterable[str], *, force: bool = False) -> Removal:
    """Remove videos, their frames and embeddings. A video that a project wants stays unless `force`.

    One that a live worker holds stays in any case.
    """
    removed: list[str] = []
    kept: dict[str, str] = {}
    freed = 0
    keys = sorted(set(video_keys))
    wanting = {} if force else projects_wanting(platform.catalog.database, keys)
    for key in keys:
        if key in wanting:
            kept[key] = f"wanted by {', '.join(wanting[key])}"
            continue
        try:
            with platform.hold_video(key, wait_seconds=0):
                if not delete_videos(platform.catalog.database, [key], only_unwanted=not force):
                    kept[key] = "not in the catalog, or wanted by now"
                    continue
                freed += remove_files(video_files(platform.layout, key))
                removed.append(key)
        except ClaimHeldError:
            kept[key] = "being worked on"
    return Removal(tuple(removed), kept, freed)


def remove_unwanted_videos(platform: Platform) -> Removal:
    """Remove the videos that no project wants (any more), with their files."""
    return remove_videos(platform, [video.key for video in unwanted_videos(platform.catalog.database)])


def remove_project(platform: Platform, name: str, *, with_files: bool, with_releases: bool = False) -> list[Path]:
    """Remove a project from the catalog; its videos stay, for other projects and `cleanup-orphans`.

    Its file in the watched folder, which would bring it back, gets the suffix `.removed`. `with_files` removes its
    derived tables and report as well, `with_releases` what it published.

    Returns:
        The folders removed and the file renamed.

    Raises:
        ConfigError: there is no such project.
        ClaimHeldError: it is being worked on.
    """
    platform.project_config(name)
    layout = platform.layout
    touched: list[Path] = []
    with platform.hold_project(name, wait_seconds=0):
        row = platform.catalog.project(name)
        watched = resolve_project_files(platform.config, layout.project_files)
        if row is not None and row.config_file is not None:
            file = Path(row.config_file)
            if file.parent == watched and file.exists():
                touched.append(file.replace(file.with_name(f"{file.name}.removed")))
        delete_project(platform.catalog.database, name)
        folders = [layout.project_folder(name), layout.report_folder(name)] if with_files else []
        folders += [layout.releases_folder(name)] if with_releases else []
        for folder in folders:
            if folder.exists():
                shutil.rmtree(folder)
                touched.append(folder)
    return touched


def find_forgettable(platform: Platform, target: str) -> tuple[list[VideoRow], list[str]]:
    """Return the videos that `target` stands for, and the subjects no listing may bring back.

    `target` is a video's key, or a channel's id or exact name.

    Raises:
        ConfigError: it is neither.
    """
    video = platform.catalog.video(target)
    if video is not None:
        return [video], [f"video/{video.key}"]
    videos = [row for row in platform.catalog.videos() if target in (row.channel_id, row.channel)]
    if not videos:
        raise ConfigError(f"{target!r} is neither a video's key nor a channel; `data-miner videos` lists both")
    channel_ids = sorted({row.channel_id for row in videos if row.channel_id})
    return videos, [f"channel/{channel}" for channel in channel_ids] + [f"video/{row.key}" for row in videos]


def forget_videos(platform: Platform, target: str, *, reason: str, delete_releases: bool = False) -> Forgetting:
    """Remove a video, or all of a channel, and everything derived from it; mark the releases that contained it.

    No listing brings it back. Releases are immutable and so are marked as withdrawn, in the catalog and by a file
    beside their manifest; `delete_releases` removes them instead.

    Raises:
        ConfigError: `target` is neither a video nor a channel.
        ClaimHeldError: a worker holds one of the videos or projects.
    """
    videos, subjects = find_forgettable(platform, target)
    keys = [video.key for video in videos]
    remember_forgotten(platform.catalog.database, subjects, reason)
    withdrawn = _withdraw_releases(platform, keys, reason, delete=delete_releases)
    members = projects_wanting(platform.catalog.database, keys, also_rejected=True)
    for name in sorted({name for names in members.values() for name in names}):
        with platform.hold_project(name, wait_seconds=60):
            with platform.catalog.database.transaction() as session:
                move_project(session, name, ProjectStage.POPULATING)  # what it had derived goes
            _forget_in_project(platform.layout, name, keys)
    removal = remove_videos(platform, keys, force=True)
    busy = [key for key, why in removal.kept.items() if why == "being worked on"]
    if busy:
        raise ClaimHeldError(f"{', '.join(busy)}: being worked on; say the same again when it is done")
    return Forgetting(removal, withdrawn)


def video_files(layout: StorageLayout, video_key: str) -> list[Path]:
    """Return every file and folder that exists for a video alone."""
    embeddings = layout.embeddings.glob(f"*/{video_key}.npz") if layout.embeddings.is_dir() else ()
    candidates = [layout.video_folder(video_key), layout.frames_folder(video_key), *sorted(embeddings)]
    return [path for path in candidates if path.exists()]


def remove_files(paths: Sequence[Path]) -> int:
    """Remove files and folders; return how many bytes that was. Hard links elsewhere keep their content."""
    freed = 0
    for path in paths:
        if path.is_dir():
            freed += sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())
            shutil.rmtree(path)
        else:
            freed += path.stat().st_size
            path.unlink()
    return freed


def _withdraw_releases(platform: Platform, keys: Sequence[str], reason: str, *, delete: bool) -> tuple[str, ...]:
    """Mark (or remove) every release on disk that contains one of the videos; return "project version" of each."""
    releases = platform.root / "releases"
    marked = []
    for folder in sorted(releases.glob("*/*")) if releases.is_dir() else []:
        manifest = read_manifest(folder)
        contained = sorted(set(keys) & set(manifest["splits"]["by_video"])) if manifest is not None else []
        if not contained:
            continue
        project, version = folder.parent.name, folder.name
        told = f"{utc_now():%Y-%m-%d}: {', '.join(contained)} removed: {reason}"
        withdraw_release(platform.catalog.database, project, version, told)
        if delete:
            shutil.rmtree(folder)
        else:
            note = folder / WITHDRAWN_FILE
            earlier = note.read_text(encoding="utf-8") if note.exists() else ""
            with atomic_path(note) as partial:
                partial.write_text(f"{earlier}{told}\n", encoding="utf-8")
        marked.append(f"{project} {version}")
    return tuple(marked)


def _forget_in_project(layout: StorageLayout, project: str, keys: Sequence[str]) -> None:
    """Take the videos out of a project's derived files: tables that are quick to make again go, the others shrink."""
    folder = layout.project_folder(project)
    if layout.report_folder(project).exists():
        shutil.rmtree(layout.report_folder(project))
    if not folder.is_dir():
        return
    for table in sorted(folder.glob("*.parquet")):
        table.unlink()
    gone = pa.array(keys, pa.string())
    for part in sorted(folder.glob("*/**/*.parquet")):  # what a detector has seen: dear, and good for the other videos
        rows = read_table(part)
        if "video_key" in rows.column_names:
            is_other = pc.invert(pc.is_in(rows["video_key"], gone))
        elif "frame_id" in rows.column_names:
            of_video = pc.replace_substring_regex(rows["frame_id"], pattern="/[0-9]+$", replacement="")
            is_other = pc.invert(pc.is_in(of_video, gone))
        else:
            continue
        left = rows.filter(is_other)
        if left.num_rows < rows.num_rows:
            metadata = read_metadata(part)
            fingerprint = metadata.pop("data_miner.fingerprint", "")
            write_table(part, left.replace_schema_metadata(None), fingerprint=fingerprint, metadata=metadata)
