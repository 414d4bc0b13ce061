"""Export an existing release, or one format of it, to a folder outside the root's own folders."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.full_disks import is_disk_full
from data_miner_dagster.domain.unwritable import unwritable_line
from data_miner_dagster.export.codec import Destination, Expected
from data_miner_dagster.export.datasheet import DATASHEET_FILE
from data_miner_dagster.export.formats import EXPORT_FORMATS, EXPORT_NAMES, WHOLE, Format
from data_miner_dagster.export.manifest import (
    CHECKSUMS_FILE,
    MANIFEST_FILE,
    damaged_files,
    read_checksums,
    read_manifest,
)
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.records import IMAGES_FOLDER, ReleaseHeader, ReleaseImage, ReleaseTally
from data_miner_dagster.export.verification import export_problems
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.item_faults import ItemFault, ItemGuard, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError, going_on_without
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.operations.releasing.standing import REWRITE_REMEDY, existing_version, release_header
from data_miner_dagster.protocols.pictures import PictureReader
from data_miner_dagster.storage.atomic import FolderInUseError, only_atomic_folder

_ROOMS: Final = frozenset(
    {"videos", "frames", "embeddings", "projects", "project_files", "releases", "reports", "students"}
)


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """The result of an export: the release's version, the absolute path of the folder, the counts, and what is missing.

    `left_out` maps each frame id or crop name that was left out to its internal error, on one line.
    """

    version: str
    folder: Path
    num_images: int
    num_boxes: int
    left_out: Mapping[str, str]


def export_release(
    platform: Platform, project: str, *, format: str, to: Path, version: str | None = None
) -> ExportOutcome:
    """Export a release to a new folder, unchanged or in one format, with copies of its images.

    The folder appears completely or not at all.

    The format `all` copies the manifest, `SHA256SUMS` and the files that it lists, unchanged. The other formats are
    defined in `export/formats.py`. They leave out and report each image or crop that causes an internal error.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        format: a name in `EXPORT_NAMES`.
        to: a new or empty folder outside the root's own folders.
        version: the version of the release, or None for the current one.

    Raises:
        ConfigError: the project, release or format does not exist, the package that the format needs is missing, or
            `to` cannot be used or is being written by another export.
        DataMinerError: the release was withdrawn or is damaged, the disk is full, or the export cannot be read back.
    """
    if format not in EXPORT_NAMES:
        raise ConfigError(f"format {format!r} is not supported; use one of {', '.join(EXPORT_NAMES)}")
    if format != WHOLE:
        EXPORT_FORMATS[format].check_installed()
    version = existing_version(platform, project, version)
    check_export_folder(platform, to)
    release = whole_release(platform, project, version)
    header = release_header(release)
    if format == WHOLE:
        return copy_release(release, header, to.absolute())
    with StoredPictures(platform.config.extraction) as pictures:
        write = partial(_export_format, _Source(release, header, pictures), EXPORT_FORMATS[format], to.absolute())
        (tally, lost_parts), lost_images = going_on_without(write)
    return ExportOutcome(
        version, to.absolute(), tally.num_images, tally.num_boxes - len(lost_parts), {**lost_images, **lost_parts}
    )


def whole_release(platform: Platform, project: str, version: str) -> Path:
    """Return the folder of a release after checking that the release is complete and was not withdrawn.

    Raises:
        DataMinerError: the release was withdrawn, or a file is missing or changed.
    """
    release = platform.layout.release_folder(project, version)
    withdrawn = [row.withdrawn_reason for row in find_releases(platform.database, project) if row.version == version]
    if withdrawn and withdrawn[0]:
        raise DataMinerError(
            f"release {project} {version} was withdrawn ({withdrawn[0]}); choose another release with --version"
        )
    if damage := damaged_files(release):
        raise DataMinerError(f"release {project} {version} is damaged ({damage[0]}); {REWRITE_REMEDY}")
    return release


def names_in_release(release: Path) -> Iterator[str]:
    """Yield the relative paths of a release's files. The manifest, which marks the release as complete, is last."""
    yield from (name for name, _ in read_checksums(release))
    yield from (CHECKSUMS_FILE, MANIFEST_FILE)


def copy_release(release: Path, header: ReleaseHeader, to: Path) -> ExportOutcome:
    """Copy a whole release to a new folder. The folder appears once every copied byte has been verified.

    Args:
        release: the folder of the release.
        header: the header of the release.
        to: the absolute path of a new or empty folder.

    Raises:
        ConfigError: `to` is not empty, or another export is writing to it.
        DataMinerError: the copy differs from the release, or the disk is full.
    """
    num_files = (read_manifest(release) or {}).get("checksums", {}).get("num_files", 0)
    steps = Steps("export: has copied", "files", num_files)
    with _export_folder(to) as folder:
        for name in names_in_release(release):
            steps.advance()
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(release / name, folder / name)
        if damage := damaged_files(folder):
            raise DataMinerError(
                f"the copy of {header.title} differs from the release: {damage[0]}; nothing was exported; try again"
            )
    manifest = read_manifest(to) or {}
    return ExportOutcome(header.version, to, manifest["num_images"], manifest["num_boxes"], {})


@dataclass(frozen=True, slots=True)
class _Source:
    """The folder and header of the release to export, and the reader of its images."""

    release: Path
    header: ReleaseHeader
    pictures: PictureReader

    def images(self, left_out: Mapping[str, str]) -> Iterator[ReleaseImage]:
        return (image for image in read_images(self.release) if image.frame_id not in left_out)


def _export_format(
    source: _Source, format: Format, to: Path, left_out: Mapping[str, str]
) -> tuple[ReleaseTally, dict[str, str]]:
    """Write one format of a release to a new folder.

    Args:
        source: the release.
        format: the format.
        to: the new folder.
        left_out: the ids of frames whose images are not written, each with the reason.

    Returns:
        The counts of the export, and the internal error of each missing part of an image, by the part's name.

    Raises:
        ConfigError: another export is writing to `to`, or `to` exists and is not empty.
        VideosLeftOutError: further images cannot be written. The error lists their frame ids, and nothing is exported.
        DataMinerError: the export cannot be read back, or the disk is full.
    """
    part_faults: dict[str, ItemFault] = {}
    with _export_folder(to) as folder, item_guard("export", are_videos=False) as guard:

        def attempt_part(name: str, work: Callable[[], None]) -> None:
            guard.attempt(name, work, partial(part_faults.__setitem__, name))

        destination = Destination(folder, source.header, source.release, source.pictures, attempt_part)
        tally = _write_images(format, destination, source.images(left_out), guard)
        shutil.copyfile(source.release / DATASHEET_FILE, folder / DATASHEET_FILE)
        if format.codec.complete_export is not None:
            format.codec.complete_export(destination, tally)
        read = partial(source.images, left_out)
        expected = Expected(source.header, tally, read, part_faults.keys(), source.release)
        if problems := export_problems(format, folder, expected):
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise DataMinerError(
                f"the export of {source.header.title} as {format.name} cannot be read back: {problems[0]}{more}; "
                "nothing was exported; try again, and report the problem if it persists"
            )
    return tally, {name: fault.line for name, fault in part_faults.items()}


def _write_images(format: Format, to: Destination, images: Iterator[ReleaseImage], guard: ItemGuard) -> ReleaseTally:
    tally = ReleaseTally.of(to.header)
    faults: dict[str, ItemFault] = {}
    if format.has_images_beside:
        for split in to.header.splits:  # empty splits get a folder too, since `data.yaml` can refer to it
            (to.folder / IMAGES_FOLDER / split).mkdir(parents=True)

    def write(image: ReleaseImage) -> None:
        writer.add(image)
        if format.has_images_beside:
            shutil.copyfile(to.release / image.path_in_release, to.folder / image.path_in_release)
        tally.add(image)

    proves = not format.codec.attempts_parts
    steps = Steps("export: has written", "images", (read_manifest(to.release) or {}).get("num_images", 0))
    with closing(format.codec.open_writer(to)) as writer:
        for image in images:
            steps.advance()
            guard.attempt(
                image.frame_id, partial(write, image), partial(faults.__setitem__, image.frame_id), proves=proves
            )
    guard.finish()
    if faults:
        raise VideosLeftOutError(faults)
    return tally


@contextmanager
def _export_folder(to: Path) -> Iterator[Path]:
    """Yield a temporary folder. It becomes `to` if the block ends without an exception, and is removed otherwise.

    A folder left behind by a killed export is removed first.

    Raises:
        ConfigError: another export is writing to `to`, or `to` exists and is not empty.
        DataMinerError: the disk is full.
        OSError: the folder cannot be written for another reason.
    """
    try:
        with only_atomic_folder(to) as folder:
            _check_free(to)
            yield folder
    except FolderInUseError as error:
        raise ConfigError(
            f"another export is writing to {to}; wait until it has finished, or choose another folder"
        ) from error
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DataMinerError(
            f"no space is left on the disk of {to}, so nothing was exported; free some space, or choose another folder"
        ) from error


def _check_free(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"{to} exists and is not an empty folder; choose a new folder")


def check_export_folder(platform: Platform, to: Path) -> None:
    """Ensure that a folder is new or empty, can be written to, and is outside the root's own folders.

    Its missing parent folders are created.

    Raises:
        ConfigError: the folder cannot be used for an export.
    """
    inside = to.resolve().relative_to(platform.root.resolve()).parts if _is_inside(to, platform.root) else ()
    if inside and inside[0] in _ROOMS:
        raise ConfigError(f"{to} is in the root's own folder {inside[0]}; choose a folder outside it")
    try:
        if to.is_mount():
            raise ConfigError(f"{to} is a mount point, which cannot be replaced; choose a new folder in it")
        _check_free(to)
        to.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=to.absolute().parent):
            pass
    except OSError as error:
        raise ConfigError(unwritable_line(to, error, "choose another folder")) from error


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
