"""The last stage: an immutable, verified release of a project, and its report."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.catalog.transitions import move_project
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import DataMinerError, NothingToReleaseError
from data_miner_dagster.domain.fingerprints import fingerprint_of, sha256_of_file
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import ProjectStage, ProjectVideoStatus
from data_miner_dagster.export.coco import CocoWriter
from data_miner_dagster.export.datasheet import write_datasheet
from data_miner_dagster.export.huggingface import ImageFolderWriter
from data_miner_dagster.export.manifest import damaged_files, read_manifest, write_manifest
from data_miner_dagster.export.parquet import ParquetWriter, write_videos
from data_miner_dagster.export.records import (
    ReleaseHeader,
    ReleaseImage,
    ReleaseModel,
    ReleaseTally,
    ReleaseVideo,
    ReleaseWriter,
)
from data_miner_dagster.export.verification import release_problems
from data_miner_dagster.export.yolo import YoloWriter
from data_miner_dagster.operations.funnel import Funnel, project_funnel
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.release_source import ReleaseSource
from data_miner_dagster.operations.reporting import write_report
from data_miner_dagster.stages.releasing import assign_splits, group_videos, next_version, version_number
from data_miner_dagster.storage.atomic import atomic_folder, sweep_partials

RELEASE_VERSION: Final = 1
"""Bumped when the same tables lead to other bytes."""

WRITERS: Final[tuple[Callable[[Path, ReleaseHeader], ReleaseWriter], ...]] = (
    CocoWriter,
    YoloWriter,
    ParquetWriter,
    ImageFolderWriter,
)
"""The formats of every release. A new format is a module in export/ and an entry here."""

_NO_HARD_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS})


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is decided before the first byte is written."""

    header: ReleaseHeader
    config: ProjectConfig
    fingerprint: str
    split_by_video: dict[str, str]
    group_by_video: dict[str, str]
    models: tuple[ReleaseModel, ...]
    funnel: Funnel


def release_project(platform: Platform, project: str, *, force: bool = False) -> ProjectOutcome:
    """Publish the project as it stands as a new version, unless there is a release of exactly that already.

    The release appears in one rename, after it was read back; then its row, then its report. With `force`, every byte
    of an existing release is checked against its manifest, and the release is written again if any has changed.

    Raises:
        NothingToReleaseError: no frame survived; the message is the funnel in one line.
        DataMinerError: a stage before is missing or out of date, or the release does not read back.
    """
    config = platform.project_config(project)
    with platform.hold_project(project), _stage_of(platform, project):
        releases = platform.layout.releases_folder(project)
        sweep_partials(releases)
        source = ReleaseSource(platform, project, config)
        fingerprint = release_fingerprint(config, source.fingerprints)
        existing = _find_release(platform, project, fingerprint)
        if existing is not None and not (force and damaged_files(releases / existing)):
            return _finish(platform, project, existing, OutcomeStatus.REUSED, rewrite_report=force)
        version = existing or next_version(_known_versions(platform, project))
        plan = _plan(platform, project, config, source, fingerprint, version)
        with atomic_folder(releases / version) as folder:
            _write_release(folder, platform, source, plan)
        return _finish(platform, project, version, OutcomeStatus.DONE, rewrite_report=True)


def release_fingerprint(config: ProjectConfig, tables: Mapping[str, str]) -> str:
    """Return what the content of a release follows from."""
    return fingerprint_of(
        {
            "version": RELEASE_VERSION,
            "releasing": config.releasing.model_dump(mode="json", exclude={"copy_images"}),
            "classes": list(config.detection.classes),  # in order: it is the class id
            "tables": dict(tables),
        }
    )


def release_versions(platform: Platform, project: str) -> list[str]:
    """Return the complete releases on disk, oldest first."""
    folder = platform.layout.releases_folder(project)
    if not folder.is_dir():
        return []
    versions = [entry.name for entry in folder.iterdir() if version_number(entry.name) and read_manifest(entry)]
    return sorted(versions, key=version_number)


def check_latest_release(platform: Platform, project: str) -> tuple[str, list[str]]:
    """Return the latest release and which of its files are missing or altered.

    Raises:
        DataMinerError: there is no release.
    """
    versions = release_versions(platform, project)
    if not versions:
        raise DataMinerError(f"project {project} has no release yet; materialize `dataset`")
    return versions[-1], list(damaged_files(platform.layout.release_folder(project, versions[-1])))


@contextmanager
def _stage_of(platform: Platform, project: str) -> Iterator[None]:
    """The project is at work while the block runs, and FAILED with the reason if it raises."""
    database = platform.catalog.database
    with database.transaction() as session:
        idle = {ProjectStage.COMPLETE, ProjectStage.FAILED, ProjectStage.DETECT_READY}
        move_project(session, project, ProjectStage.DETECTING, only_from=idle, error=None)
    try:
        yield
    except Exception as error:
        with database.transaction() as session:
            move_project(session, project, ProjectStage.FAILED, error=str(error) or type(error).__name__)
        raise


def _find_release(platform: Platform, project: str, fingerprint: str) -> str | None:
    """Return the newest release on disk with this fingerprint that was not withdrawn."""
    withdrawn = {row.version for row in platform.catalog.releases(project) if row.withdrawn_reason}
    for version in reversed(release_versions(platform, project)):
        manifest = read_manifest(platform.layout.release_folder(project, version))
        if manifest is not None and manifest["fingerprint"] == fingerprint and version not in withdrawn:
            return version
    return None


def _known_versions(platform: Platform, project: str) -> set[str]:
    """A version that was published once is never given again, even if its folder or its row has gone."""
    folder = platform.layout.releases_folder(project)
    on_disk = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    return on_disk | {row.version for row in platform.catalog.releases(project)}


def _plan(
    platform: Platform, project: str, config: ProjectConfig, source: ReleaseSource, fingerprint: str, version: str
) -> _Plan:
    funnel = project_funnel(platform, project).before_release()
    video_keys = [video_key for video_key in source.video_keys if source.images_of(video_key)]
    if not video_keys:
        raise NothingToReleaseError(f"project {project!r} has nothing to release: {funnel.as_line()}")
    shares = config.releasing.ordered_splits
    groups = group_videos(video_keys, source.duplicate_links())
    return _Plan(
        header=ReleaseHeader(
            project=project,
            version=version,
            description=config.description,
            class_names=tuple(config.detection.classes),
            splits=tuple(shares),
        ),
        config=config,
        fingerprint=fingerprint,
        split_by_video=assign_splits(groups, shares, _earlier_splits(platform, project, shares)),
        group_by_video={video_key: group[0] for group in groups for video_key in group},
        models=_models(platform),
        funnel=funnel,
    )


def _earlier_splits(platform: Platform, project: str, shares: Mapping[str, float]) -> dict[str, str]:
    """Return the splits of the latest release, if it was made with the same shares."""
    versions = release_versions(platform, project)
    manifest = read_manifest(platform.layout.release_folder(project, versions[-1])) if versions else None
    if manifest is None or manifest["splits"]["shares"] != dict(shares):
        return {}
    return dict(manifest["splits"]["by_video"])


def _models(platform: Platform) -> tuple[ReleaseModel, ...]:
    models = platform.models
    roles = (
        ("frame filter", models.filter_entry),
        ("near-duplicates", models.dedup_entry),
        ("detector", models.detector_entry),
    )
    return tuple(
        ReleaseModel(role, entry.name, entry.source, entry.revision, entry.licence, entry.fingerprint)
        for role, entry in roles
    )


def _write_release(folder: Path, platform: Platform, source: ReleaseSource, plan: _Plan) -> None:
    tally = ReleaseTally.of(plan.header)
    hashed: dict[str, dict[str, object]] = {}
    for split in plan.header.splits:
        (folder / "images" / split).mkdir(parents=True)
    with ExitStack() as stack:
        writers = [stack.enter_context(closing(make(folder, plan.header))) for make in WRITERS]
        for video_key in sorted(plan.split_by_video):
            files = source.image_files_of(video_key)
            split = plan.split_by_video[video_key]
            for image in source.images_of(video_key, split=split, first_image_id=tally.num_images + 1):
                name = f"images/{image.file_name}"
                _place_image(files[image.frame_index], folder / name, image, copy=plan.config.releasing.copy_images)
                hashed[name] = {"sha256": image.sha256, "size_bytes": image.size_bytes}
                for writer in writers:
                    writer.add(image)
                tally.add(image)
    videos = list(source.videos(plan.split_by_video, plan.group_by_video, tally.images_by_video, tally.boxes_by_video))
    write_videos(folder, videos)
    problems = release_problems(folder, plan.header, tally)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataMinerError(f"release {plan.header.title} does not read back: {problems[0]}{more}; nothing published")
    content = _manifest_content(plan, tally, videos)
    write_datasheet(folder, plan.header, content, videos)
    write_manifest(folder, content, hashed)


def _place_image(source: Path, target: Path, image: ReleaseImage, *, copy: bool) -> None:
    """Hard-link or copy one frame, after its bytes were checked against the frames' manifest."""
    if not source.is_file() or sha256_of_file(source) != image.sha256:
        what = "differs from what was extracted" if source.is_file() else "is missing"
        raise DataMinerError(
            f"the image of frame {image.frame_id} {what}: materialize `frames` of {image.video_key} again with force"
        )
    if not copy:
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_HARD_LINK:
                raise
        else:
            return
    shutil.copyfile(source, target)


def _manifest_content(plan: _Plan, tally: ReleaseTally, videos: list[ReleaseVideo]) -> dict[str, Any]:
    """Everything that is known of a release. No dates and no absolute paths: the same inputs give the same bytes."""
    config = plan.config
    return {
        "project": plan.header.project,
        "version": plan.header.version,
        "description": plan.header.description,
        "fingerprint": plan.fingerprint,
        "num_videos": len(videos),
        "num_images": tally.num_images,
        "num_images_without_boxes": tally.num_images_without_boxes,
        "num_boxes": tally.num_boxes,
        "images_size_bytes": tally.size_bytes,
        "images_by_split": tally.images_by_split,
        "boxes_by_split": tally.boxes_by_split,
        "images_by_class": tally.images_by_class,
        "boxes_by_class": tally.boxes_by_class,
        "classes": list(plan.header.class_names),
        "splits": {"shares": config.releasing.ordered_splits, "by_video": plan.split_by_video},
        "thresholds": {name: config.releasing.threshold_of(name) for name in plan.header.class_names},
        "models": [asdict(model) for model in plan.models],
        "funnel": plan.funnel.as_json()["steps"],
        "prompts": {
            "positive": list(config.filtering.texts_of("positive")),
            "negative": list(config.filtering.texts_of("negative")),
            "junk": list(config.filtering.texts_of("junk")),
        },
        "config": {
            section: getattr(config, section).model_dump(mode="json")
            for section in ("filtering", "deduplication", "detection", "releasing")
        },
    }


def _num_videos_considered(platform: Platform, project: str) -> int:
    considered = (ProjectVideoStatus.FILTERED, ProjectVideoStatus.FILTERED_EMPTY)
    return sum(member.status in considered for member in platform.catalog.members(project))


def _finish(
    platform: Platform, project: str, version: str, status: OutcomeStatus, *, rewrite_report: bool
) -> ProjectOutcome:
    """Bring the catalog and the report in line with a release that is in place."""
    manifest = read_manifest(platform.layout.release_folder(project, version))
    if manifest is None:
        raise DataMinerError(f"release {project} {version} has vanished while it was being recorded")
    with platform.catalog.database.transaction() as session:
        platform.catalog.add_release(
            session,
            ReleaseRow(
                project_name=project,
                version=version,
                fingerprint=manifest["fingerprint"],
                num_videos=_num_videos_considered(platform, project),
                num_images=manifest["num_images"],
                num_boxes=manifest["num_boxes"],
            ),
        )
    platform.catalog.update_project(project, released_version=version, error=None)
    counts = project_funnel(platform, project).as_counts()
    write_report(platform, project, version, rewrite=rewrite_report)
    with platform.catalog.database.transaction() as session:
        move_project(session, project, ProjectStage.COMPLETE)
    platform.catalog.update_project(project, counts=counts)
    release = platform.layout.release_folder(project, version)
    return ProjectOutcome(
        project=project,
        status=status,
        fingerprint=manifest["fingerprint"],
        counts={
            "videos": manifest["num_videos"],
            "images": manifest["num_images"],
            "images without boxes": manifest["num_images_without_boxes"],
            "boxes": manifest["num_boxes"],
            **{f"images in {split}": number for split, number in manifest["images_by_split"].items()},
            **{f"boxes of {name}": manifest["boxes_by_class"][name] for name in manifest["classes"]},
        },
        metadata={
            "version": version,
            "release": str(release),
            "report": str(platform.layout.report_folder(project) / "index.html"),
        },
    )
