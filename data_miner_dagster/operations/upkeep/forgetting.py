"""Forget a video or channel: remove everything in the root that shows or names it, and keep listings from adding it.

Belongs here: deleting rows and files. Does not belong here: Dagster's history (cli/dagster_history.py), or searching
for remaining traces (traces.py).
"""

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.backups import earlier_catalogs
from data_miner_dagster.catalog.box_answers import delete_answers_of_videos
from data_miner_dagster.catalog.forgotten import is_forgotten, remember_forgotten
from data_miner_dagster.catalog.members import projects_wanting
from data_miner_dagster.catalog.outside_copies import find_outside_copies
from data_miner_dagster.catalog.projects import find_project, find_projects, update_project
from data_miner_dagster.catalog.releases import withdraw_release
from data_miner_dagster.catalog.schema import VideoRow, utc_now
from data_miner_dagster.catalog.splits import delete_memory_of_videos
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.catalog.verdicts import delete_verdicts_of_videos
from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.catalog.wording import reword_what_names
from data_miner_dagster.domain.copies import CopyKind
from data_miner_dagster.domain.errors import ClaimHeldError, ConfigError, DamagedFileError, DataMinerError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.keys import forgotten_subject, split_frame_id
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.export.manifest import (
    CHECKSUMS_FILE,
    MANIFEST_FILE,
    WITHDRAWN_FILE,
    is_release,
    read_checksums,
    read_manifest,
    write_manifest,
)
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone
from data_miner_dagster.operations.naming import name_of_video
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.inputs import forget_inputs
from data_miner_dagster.operations.releasing.unfinished import remove_unfinished_rebuilds
from data_miner_dagster.operations.releasing.unfinished_exports import remove_unfinished_exports
from data_miner_dagster.operations.split_memory import remember_releases
from data_miner_dagster.operations.upkeep.removal import Removal, remove_files, remove_videos, video_files
from data_miner_dagster.operations.upkeep.traces import MIN_NEEDLE_LENGTH
from data_miner_dagster.operations.verdict_files import adopt_verdict_file
from data_miner_dagster.storage.answers import read_answers, write_answers
from data_miner_dagster.storage.atomic import atomic_path, sweep_partials
from data_miner_dagster.storage.changing_folders import paths_below
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import read_metadata, read_table, write_table

_NAMELESS: Final = "a forgotten video"
_WAIT_SECONDS: Final = 60.0
_MOST_MEANT: Final = 5


@dataclass(frozen=True, slots=True)
class HeldRelease:
    """A release that contains images from videos to forget."""

    project: str
    version: str
    num_videos: int  # how many of its videos are to be forgotten
    num_all_videos: int

    def __str__(self) -> str:
        """Return the release as one human-readable line."""
        return f"{self.project} {self.version} ({self.num_videos} of its {counted(self.num_all_videos, 'video')})"


@dataclass(frozen=True, slots=True)
class Forgetting:
    """The result of `forget_videos`."""

    removal: Removal
    releases: tuple[HeldRelease, ...]  # releases that were removed, or marked as withdrawn if they stay
    projects: tuple[str, ...]  # projects that had one of the videos, or have a release with one
    left: tuple[str, ...]  # a line for each file or release that could not be read, and so may still show a video


def find_forgettable(platform: Platform, target: str) -> tuple[list[VideoRow], list[str]]:
    """Return the videos that `target` names, and the subjects (videos and channels) that no listing may add again.

    `target` is the key of a video, or the id or exact name of a channel. A video that was already forgotten is found by
    its key even if it has no row, so an interrupted call can be repeated.

    Raises:
        ConfigError: `target` is neither a video nor a channel.
    """
    video = find_video(platform.database, target)
    if video is not None:
        return [video], [forgotten_subject("video", video.key)]
    videos = [row for row in find_videos(platform.database) if target in (row.channel_id, row.channel)]
    if not videos and is_forgotten(platform.database, forgotten_subject("video", target)):
        return [VideoRow(key=target, url="")], [forgotten_subject("video", target)]
    if not videos:
        raise ConfigError(f"{target!r} is neither the key of a video nor a channel{_meant(platform, target)}")
    channel_ids = sorted({row.channel_id for row in videos if row.channel_id})
    return videos, [
        *(forgotten_subject("channel", channel) for channel in channel_ids),
        *(forgotten_subject("video", row.key) for row in videos),
    ]


def _meant(platform: Platform, target: str) -> str:
    """Return a hint for an error message: keys that begin with `target`, and keys of videos with that name or title.

    The keys are only suggested, because only a complete key identifies a video safely. If there are none, the hint is
    the command that lists all keys.
    """
    rows = find_videos(platform.database)
    keys = [row.key for row in rows if target in (name_of_video(row), row.title) or row.key.startswith(target)]
    if not keys:
        return "; run `data-miner videos` to list the keys"
    return f"; did you mean {' or '.join(keys[:_MOST_MEANT])}?"


def releases_holding(platform: Platform, keys: Collection[str], unread: list[str] | None = None) -> list[HeldRelease]:
    """Return the releases on disk, from all projects, that contain images from any of the videos.

    A release that cannot be read may contain some, too. A line about each such release is added to `unread`.
    """
    held = []
    for folder, manifest in _readable_releases(platform, [] if unread is None else unread):
        by_video = manifest["splits"]["by_video"]
        num_videos = len(set(keys) & set(by_video))
        if num_videos:
            held.append(HeldRelease(folder.parent.name, folder.name, num_videos, len(by_video)))
    return held


def copies_showing(platform: Platform, videos: Sequence[VideoRow], held: Collection[HeldRelease]) -> list[str]:
    """Describe the copies outside the root that may show any of the videos, and how to remove each copy.

    A copy is a publication or a backup. A publication is included if its release contains one of the videos, or if that
    is unknown because the release is no longer under the root or cannot be read. A backup is included if it was made
    after the first of the videos was added, or if that time is unknown.
    """
    versions = {(release.project, release.version) for release in held}
    since = min((video.created_at for video in videos if video.created_at is not None), default=None)
    found = []
    for copy in find_outside_copies(platform.database):
        if copy.kind is CopyKind.PUBLICATION:
            project, version = str(copy.project_name), str(copy.version)
            doubt = "" if (project, version) in versions else _why_unknown(platform, project, version)
            if (project, version) in versions or doubt:
                certain = f", which {doubt} and may show the videos," if doubt else ""
                place = copy.url.removesuffix(f"/{project}/{version}")
                how = f"`data-miner publish {project} --version {version} --to {place} --withdraw`"
                how = "remove it on the hub" if place.startswith("hf:") else how
                found.append(f"release {project} {version}{certain} at {copy.url}: {how}")
        elif since is None or copy.made_at >= since:
            how = f"`data-miner backup --to {copy.url}`, then `data-miner backups --at {copy.url} --keep 1`"
            how += ", which removes all earlier backups"
            found.append(f"backup {copy.snapshot} at {copy.url}: {how}")
    return found


def forget_videos(platform: Platform, target: str, *, reason: str, keep_releases: bool = False) -> Forgetting:
    """Remove the videos that `target` names, and everything that shows or names them. No listing adds them again.

    Releases that contain one of the videos are removed, but the splits and generations of their other videos are
    remembered. With `keep_releases`, these releases are marked as withdrawn instead, in the catalog and by a file
    beside their manifest. In releases that only name a video among their changes, the name is replaced and the
    checksums are updated.

    What cannot be read is passed over and named in the result. After an interruption, the call can be repeated.

    Raises:
        ConfigError: `target` is neither a video nor a channel.
        ClaimHeldError: a worker holds one of the videos or projects, or a release is being rebuilt or exported to a
            bucket or hub.
    """
    videos, subjects = find_forgettable(platform, target)
    keys = [video.key for video in videos]
    remember_forgotten(platform.database, subjects, reason)
    remove_unfinished_rebuilds(platform)
    remove_unfinished_exports(platform)
    wanting = projects_wanting(platform.database, keys, also_rejected=True)
    left: list[str] = []
    held = releases_holding(platform, keys, left)
    projects = {name for names in wanting.values() for name in names} | {release.project for release in held}
    known = {row.name for row in find_projects(platform.database)}
    for name in sorted(projects & known):
        with platform.hold_project(name, wait_seconds=_WAIT_SECONDS):
            with platform.database.transaction() as session:
                move_project(session, name, ProjectStage.SOURCING)  # its derived tables are deleted below
            try:
                adopt_verdict_file(platform.database, platform.layout, name)
            except (ConfigError, OSError) as error:  # the file stays in place
                left.append(f"the earlier verdicts of project {name} were not imported: {error}")
            left += _forget_in_project(platform.layout, name, keys)
        with platform.hold_shard(f"student/{name}"):
            sweep_partials(platform.layout.students_folder(name))  # copies of a release that a killed training left
    _forget_windows(platform, sorted(known), keys)
    for name in sorted({folder.parent.name for folder in _release_folders(platform)}):
        with platform.hold_project(name, wait_seconds=_WAIT_SECONDS):
            remember_releases(platform, name, passes_over=True)
    left += _forget_in_releases(platform, keys, held, reason, keep=keep_releases)
    removal = remove_videos(platform, keys, force=True)
    if removal.in_use:
        raise ClaimHeldError(
            f"a worker is using {', '.join(removal.in_use)}; run the same command again when the worker is done"
        )
    for key in keys:
        remove_files(video_files(platform.layout, key))  # an earlier attempt may have ended between rows and files
    _forget_in_catalog(platform, keys, [*(video.url for video in videos if video.url), target])
    return Forgetting(removal, tuple(held), tuple(sorted(projects)), tuple(left))


# --- releases ---


def _release_folders(platform: Platform) -> list[Path]:
    return [folder for folder in paths_below(platform.layout.releases, "*/*") if is_release(folder)]


def _readable_releases(platform: Platform, unread: list[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder and manifest of each release on disk. Add a line to `unread` for each that cannot be read."""
    for folder in _release_folders(platform):
        try:
            manifest = read_manifest(folder)
        except (DataMinerError, OSError) as error:
            unread.append(f"release {folder.parent.name} {folder.name} may show or name forgotten videos: {error}")
            continue
        if manifest is not None:
            yield folder, manifest


def _why_unknown(platform: Platform, project: str, version: str) -> str:
    """Return why it is unknown which videos a release contains, or "" if its manifest can be read."""
    try:
        manifest = read_manifest(platform.layout.release_folder(project, version))
    except (DataMinerError, OSError):
        return "cannot be read"
    return "is no longer under the root" if manifest is None else ""


def _forget_in_releases(
    platform: Platform, keys: Sequence[str], held: Sequence[HeldRelease], reason: str, *, keep: bool
) -> list[str]:
    """Remove or mark the releases in `held`, and take the videos' names out of all others.

    Return a line for each release that may still name one.
    """
    for release in held:
        folder = platform.layout.release_folder(release.project, release.version)
        told = f"{utc_now():%Y-%m-%d}: forgot {release.num_videos} of its videos: {reason}"
        withdraw_release(platform.database, release.project, release.version, told)
        if keep:
            note = folder / WITHDRAWN_FILE
            earlier = note.read_text(encoding="utf-8") if note.exists() else ""
            with atomic_path(note) as file:
                file.write_text(f"{earlier}{told}\n", encoding="utf-8")
            continue
        shutil.rmtree(folder)
        row = find_project(platform.database, release.project)
        if row is not None and row.released_version == release.version:
            update_project(platform.database, release.project, released_version=None)
    left = []
    for folder, manifest in _readable_releases(platform, []):
        if not set(keys) & set(manifest["splits"]["by_video"]):
            name = f"release {folder.parent.name} {folder.name}"
            outcome = attempt_alone("forget", name, partial(_take_names_out, folder, keys))
            if isinstance(outcome, ItemFault):
                left.append(f"{name} may name forgotten videos: {outcome.line}")
    return left


def _take_names_out(folder: Path, keys: Sequence[str]) -> None:
    """Replace the videos' keys in a release's text files, and update the checksums. Nothing else is changed."""
    texts = [path for path in sorted(folder.iterdir()) if path.suffix in (".md", ".json", ".txt")]
    naming = [path for path in texts if any(key in path.read_text(encoding="utf-8") for key in keys)]
    if not naming:
        return
    for path in naming:
        if path.name != MANIFEST_FILE:
            with atomic_path(path) as partial:
                partial.write_text(_without(path.read_text(encoding="utf-8"), keys), encoding="utf-8")
    rewritten = {path.name for path in texts}
    lines = [
        f"{sha256_of_file(folder / name) if name in rewritten else sha256}  {name}\n"
        for name, sha256 in read_checksums(folder)
    ]
    with atomic_path(folder / CHECKSUMS_FILE) as partial:
        partial.write_text("".join(lines), encoding="utf-8")
    content = json.loads(_without((folder / MANIFEST_FILE).read_text(encoding="utf-8"), keys))
    num_files = content.pop("checksums")["num_files"]
    del content["format"]
    write_manifest(folder, content, num_files=num_files)


def _without(text: str, keys: Sequence[str]) -> str:
    for key in sorted(keys, key=len, reverse=True):
        text = text.replace(key, _NAMELESS)
    return text


# --- projects and the catalog ---


def _forget_windows(platform: Platform, projects: Sequence[str], keys: Sequence[str]) -> None:
    """Remove the detectors' results on the videos' windows, including any that an earlier call left behind."""
    for name in projects:
        folders = paths_below(platform.layout.window_parts(name), "*")
        if found := [folder / key for folder in folders for key in keys if (folder / key).exists()]:
            with platform.hold_project(name, wait_seconds=_WAIT_SECONDS):
                remove_files(found)


def _forget_in_project(layout: StorageLayout, project: str, keys: Sequence[str]) -> list[str]:
    """Remove the videos from a project's derived files. Return a line for each file that may still name one.

    Files that are cheap to recreate are deleted, and so are damaged ones. In the others, only the rows about the videos
    are removed.
    """
    folder = layout.project_folder(project)
    remove_files([path for path in (layout.report_folder(project), layout.project_previews(project)) if path.exists()])
    if not folder.is_dir():
        return []
    for path in sorted(folder.iterdir()):
        if path.is_file():  # tables, the vectors of representatives, hashes of local files
            path.unlink()
    left = _forget_answers(layout, project, keys)
    forget_inputs(layout.release_inputs_folder(project), keys)
    layout.adopted_verdicts(project).unlink(missing_ok=True)  # the catalog has these verdicts
    gone = pa.array(keys, pa.string())
    # Detectors' results are expensive, and stay valid for the other videos.
    for part in sorted(folder.glob("*/**/*.parquet")):
        try:
            rows = read_table(part)
        except DamagedFileError:  # it would be removed by its next reader
            part.unlink()
            continue
        if "video_key" in rows.column_names:
            is_other = pc.invert(pc.is_in(rows["video_key"], gone))
        elif "frame_id" in rows.column_names:
            of_video = pc.replace_substring_regex(rows["frame_id"], pattern="/[0-9]+$", replacement="")
            is_other = pc.invert(pc.is_in(of_video, gone))
        else:
            continue
        others = rows.filter(is_other)
        if others.num_rows < rows.num_rows:
            metadata = read_metadata(part)
            fingerprint = metadata.pop("data_miner.fingerprint", "")
            write_table(part, others.replace_schema_metadata(None), fingerprint=fingerprint, metadata=metadata)
    return left


def _forget_answers(layout: StorageLayout, project: str, keys: Sequence[str]) -> list[str]:
    """Remove answers about the videos, and all questions with their pictures, from a project's calibration.

    The reference file is removed if it names one of the videos. `data-miner calibrate` writes the questions again.
    Return a line if the answers cannot be read.
    """
    calibration, left = layout.calibration_folder(project), []
    if not calibration.is_dir():
        return []
    answers = layout.answers_file(project)
    if answers.is_file():
        try:
            given = read_answers(answers)
            others = {frame: word for frame, word in given.items() if split_frame_id(frame)[0] not in keys}
            write_answers(answers, others)
        except (ConfigError, ValueError) as error:  # the file stays as it is
            left.append(f"answers about frames of {project} may name forgotten videos: {error}")
    reference, questions = layout.reference_file(project), layout.questions_table(project).stem
    for path in sorted(calibration.iterdir()):
        names_it = path == reference and any(f'"{key}"' in path.read_text(encoding="utf-8") for key in keys)
        if names_it or path.name.startswith(f"{questions}."):
            path.unlink()
    return left


def _forget_in_catalog(platform: Platform, keys: Sequence[str], names: Sequence[str]) -> None:
    """Delete the rows about the videos, replace their names in all other rows, and reclaim the space of deleted rows.

    Copies of the catalog from migrations and from a move to PostgreSQL are deleted, because they cannot be rewritten.
    """
    database = platform.database
    for copy in earlier_catalogs(database.file) if database.file is not None else ():
        copy.unlink(missing_ok=True)
    shutil.rmtree(platform.layout.before_move, ignore_errors=True)
    with database.transaction() as session:
        delete_memory_of_videos(session, keys)
        delete_verdicts_of_videos(session, keys)
        delete_answers_of_videos(session, keys)
        for name in sorted({*keys, *(name for name in names if len(name) >= MIN_NEEDLE_LENGTH)}):
            reword_what_names(session, name, partial(_without, keys=[name]))
    database.reclaim_space()
