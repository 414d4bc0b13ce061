"""Reproduce a release from its manifest, byte for byte, in a folder that the user names (`data-miner rebuild`).

All stages after embedding run again in a temporary root inside the release's root, using the stored files and catalog
rows. Nothing is downloaded, and no verifier is asked. The result is compared with the manifest before it
is copied to the folder.

Belongs here: checking the inputs of a rebuild, and rebuilding. Does not belong here: the temporary root, which stays if
the rebuild does not finish (unfinished.py).
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_miner_dagster.catalog.claims import hold_claim
from data_miner_dagster.catalog.database import sqlite_url
from data_miner_dagster.catalog.project_rows import StoredRow, add_project_rows, row_of_project
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.export.manifest import (
    CHECKSUMS_FILE,
    MANIFEST_FILE,
    NOT_FOLLOWED,
    read_checksums,
    read_manifest,
)
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.export.rows import read_columns
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.deduplication.others import foreign_videos
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.extraction.refetching import SourcesMissingError
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import ExportOutcome, check_export_folder, copy_release
from data_miner_dagster.operations.releasing.inputs import (
    FILE_TABLE,
    VIDEO_TABLE,
    Recipe,
    are_models_unknown,
    read_recipe,
    read_stored_rows,
)
from data_miner_dagster.operations.releasing.lacking import (
    FollowedVideo,
    changed_stages,
    changed_versions,
    lacking_files,
    lacking_from_outside,
    lacking_models,
    lacking_releases,
    lacking_verifier,
    lacking_windows,
    line_of_windows,
)
from data_miner_dagster.operations.releasing.quality import labelling_of
from data_miner_dagster.operations.releasing.release_project import release_fingerprint, standing_of
from data_miner_dagster.operations.releasing.selecting import selection_of
from data_miner_dagster.operations.releasing.source import ReleaseSource
from data_miner_dagster.operations.releasing.standing import existing_version, release_header
from data_miner_dagster.operations.releasing.unfinished import (
    REBUILD_CLAIM,
    DifferentResultError,
    RebuildOf,
    work_folder,
)
from data_miner_dagster.operations.releasing.writing import plan_release, write_release
from data_miner_dagster.operations.verification.verify_boxes import VerificationCounts
from data_miner_dagster.storage.atomic import atomic_folder
from data_miner_dagster.storage.layout import StorageLayout


class InputsMissingError(DataMinerError):
    """Raised if inputs for rebuilding a release are missing or have changed. `lacks` has one line per input."""

    def __init__(self, title: str, lacks: Sequence[str]) -> None:
        super().__init__(f"{title} cannot be rebuilt: {'; '.join(lacks)}; nothing was written")
        self.lacks = tuple(lacks)


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """The release to rebuild, its stored inputs, and those inputs that are missing or have changed."""

    project: str
    version: str
    manifest: dict[str, Any]
    manifest_bytes: bytes
    recipe: Recipe
    config: ProjectConfig
    videos: dict[str, dict[str, Any]]  # facts about videos with frames, by key
    lacks: list[str] = field(default_factory=list)
    """One line for each input that is missing or has changed. The list is empty if all inputs are unchanged."""


def plan_rebuild(
    platform: Platform,
    project: str,
    *,
    version: str | None = None,
    manifest: Path | None = None,
    any_versions: bool = False,
) -> RebuildPlan:
    """Collect the inputs for rebuilding a release, and list those that are missing or have changed.

    The images are read in full, and nothing is changed.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        version: the version of a release on disk, or None for the current one.
        manifest: a copy of a release's `release.json`, or the folder that contains it. The release itself need not be
            on disk. This argument takes precedence over `version`.
        any_versions: True to accept different package versions, another Python version or another machine.

    Raises:
        ConfigError: the project or release does not exist, or `manifest` is not the manifest of one of its releases.
        DataMinerError: the manifest is damaged, inputs are missing or unreadable, or the settings are no longer valid.
    """
    file = manifest or platform.layout.release_folder(project, existing_version(platform, project, version))
    file = file / MANIFEST_FILE if file.is_dir() else file
    content = read_manifest(file.parent) if file.name == MANIFEST_FILE else None
    if content is None or content["project"] != project:
        raise ConfigError(f"{file} is not the release.json of a release of {project!r}; give one with --manifest")
    name = content["version"]
    inputs = platform.layout.release_inputs(project, name)
    recipe = read_recipe(inputs)
    if recipe is None:
        raise DataMinerError(
            f"release {project} {name} cannot be rebuilt: its inputs are damaged or not stored, for example because "
            "another version built it or one of its videos was forgotten; restore the release from a backup instead"
        )
    videos, files, config = {}, {}, None
    for row in read_stored_rows(inputs):
        if row.table == VIDEO_TABLE and row.video_key is not None:
            videos[row.video_key] = json.loads(row.content)
        elif row.table == "videos" and row.video_key is not None:
            files[row.video_key] = json.loads(row.content)
        elif row.table == "projects":
            config = _config_of(project, name, row)
    if config is None:
        raise DataMinerError(f"{inputs} lacks the configuration of {project!r}; restore the file from a backup")
    plan = RebuildPlan(project, name, content, file.read_bytes(), recipe, config, videos)
    of_then = _with_models_of(platform, recipe)
    plan.lacks.extend([] if any_versions else changed_versions(recipe))
    plan.lacks.extend(changed_stages(recipe))
    plan.lacks.extend(lacking_models(of_then, config, recipe))
    plan.lacks.extend(lacking_verifier(of_then, config, content["models"]))
    plan.lacks.extend(lacking_files(of_then, project, videos, content.get("left_out", ())))
    if config.detection.tracking is not None:
        followed = _followed(file.parent, files, content["splits"]["by_video"].keys() - content.get(NOT_FOLLOWED, ()))
        plan.lacks.extend(lacking_windows(platform, config, followed))
    plan.lacks.extend(lacking_releases(platform, project, name, recipe))
    plan.lacks.extend(lacking_from_outside(of_then, config, recipe))
    return plan


def _followed(release: Path, files: Mapping[str, Mapping[str, Any]], video_keys: Iterable[str]) -> list[FollowedVideo]:
    """Return the given videos of a release, with the times of their images if the release's table of images exists."""
    times: dict[str, list[float]] = {key: [] for key in video_keys}
    if (table := images_table(release)).is_file():
        for key, pts_seconds in read_columns(table, "video_key", "pts_seconds"):
            if key in times:
                times[key].append(pts_seconds)
    facts = ((key, files.get(key, {}), some) for key, some in times.items())
    return [FollowedVideo(key, row.get("sha256"), row.get("file_name"), some) for key, row, some in facts]


def _config_of(project: str, version: str, row: StoredRow) -> ProjectConfig:
    try:
        return ProjectConfig.from_snapshot(json.loads(row.content)["config"])
    except ValidationError as error:
        problem = error.errors()[0]
        why = ": ".join(filter(None, (".".join(map(str, problem["loc"])), problem["msg"])))
        raise DataMinerError(
            f"release {project} {version} cannot be rebuilt: its settings are not valid in this version of "
            f"data-miner-dagster ({why}); install the version that built the release"
        ) from None


def _with_models_of(platform: Platform, recipe: Recipe) -> Platform:
    """Return a platform on the same root with the encoders and the default detector of a release.

    If they are already configured, or if the release does not record its models, the given platform is returned.
    """
    if are_models_unknown(recipe):
        return platform
    models = platform.models
    wanted = {role: name for role, (name, _) in recipe.models.items()}
    names = {
        "filter_encoder": wanted["filter_encoder"],
        "dedup_encoder": wanted.get("dedup_encoder", models.dedup_encoder.name),
        "detector": wanted["detector 1"],
    }
    if names["filter_encoder"] == models.filter_encoder.name and names["dedup_encoder"] == models.dedup_encoder.name:
        names = {} if names["detector"] == models.detector.name else {"detector": names["detector"]}
    if not names:
        return platform
    config = platform.config.models.model_copy(update=names)
    return Platform(platform.config, platform.root, catalog_url=platform.catalog_url, models=ModelProvider(config))


def rebuild_release(platform: Platform, plan: RebuildPlan, to: Path) -> ExportOutcome:
    """Rebuild a release in a new folder. The folder appears only if every byte matches the release.

    Args:
        platform: the platform of one root.
        plan: the result of `plan_rebuild`.
        to: a new or empty folder outside the root's own folders.

    Raises:
        ConfigError: `to` cannot be used for an export.
        ClaimHeldError: another rebuild of this root is running.
        InputsMissingError: inputs are missing or have changed.
        DifferentResultError: the result differs from the release. The message names the differences.
        DataMinerError: a stage fails, or the disk is full.
    """
    check_export_folder(platform, to)
    title = f"release {plan.project} {plan.version}"
    if plan.lacks:
        raise InputsMissingError(title, plan.lacks)
    work = RebuildOf(plan.project, plan.version, plan.manifest_bytes)
    with hold_claim(platform.database, REBUILD_CLAIM, wait_seconds=0), work_folder(platform.root, work) as root:
        scratch = _scratch_platform(platform, plan, root)
        try:
            filter_project(scratch, plan.project)
            deduplicate_project(scratch, plan.project)
            detect_project(scratch, plan.project, not_followed=plan.manifest.get(NOT_FOLLOWED, ()))
        except SourcesMissingError as error:  # the examined frames, and so the pictures, are known after deduplication
            lines = [line_of_windows(plan.project, key) for key in error.video_keys]
            raise InputsMissingError(title, lines) from None
        release = _release(scratch, plan)
        if difference := _difference(plan, release, platform.layout.release_folder(plan.project, plan.version)):
            raise DifferentResultError(
                f"{title} cannot be rebuilt: {difference}; nothing was written; restore the release from a backup "
                "instead"
            )
        return copy_release(release, release_header(release), to.absolute())


def _scratch_platform(platform: Platform, plan: RebuildPlan, root: Path) -> Platform:
    """Add the inputs of a release to a temporary root, and return an offline platform on that root.

    The stored rows are added to the root's catalog. Files are hard-linked or copied. Other releases are symlinked.
    """
    scratch = Platform(
        platform.config,
        root,
        catalog_url=sqlite_url(StorageLayout(root).catalog_file).render_as_string(hide_password=False),
        models=_with_models_of(platform, plan.recipe).models,
    )
    scratch.may_begin_catalog = scratch.is_offline = True
    layout, deduplication = platform.layout, plan.config.deduplication
    rows = list(_rows_to_add(platform, plan, scratch))
    add_project_rows(scratch.database, rows)
    for key in sorted(plan.videos.keys() | foreign_videos(platform, deduplication)):
        _link_tree(layout.frames_folder(key), scratch.layout.frames_folder(key))
        _link_tree(layout.video_folder(key), scratch.layout.video_folder(key))
        for file in layout.embedding_files(key):
            _link(file, root / file.relative_to(platform.root))
        if plan.config.detection.tracking is not None:
            _link_tree(layout.windows_folder(key), scratch.layout.windows_folder(key))
    _link_tree(layout.detection_parts(plan.project), scratch.layout.detection_parts(plan.project))
    _link_tree(layout.window_parts(plan.project), scratch.layout.window_parts(plan.project))
    for other in deduplication.against_projects:
        _link(layout.deduplicated_table(other), scratch.layout.deduplicated_table(other))
    of_others = [(name.partition("/")[0], name.partition("/")[2]) for name in deduplication.against_releases]
    for project, version in (*((plan.project, version) for version in plan.recipe.earlier), *of_others):
        folder = scratch.layout.release_folder(project, version)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            folder.symlink_to(layout.release_folder(project, version), target_is_directory=True)
    return scratch


def _rows_to_add(platform: Platform, plan: RebuildPlan, scratch: Platform) -> Iterator[StoredRow]:
    for row in read_stored_rows(platform.layout.release_inputs(plan.project, plan.version)):
        if row.table == FILE_TABLE:
            path = scratch.layout.box_calibration(plan.project)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(row.content, encoding="utf-8")
        elif row.table != VIDEO_TABLE:
            yield row
    with platform.database.reading() as session:
        for other in plan.config.deduplication.against_projects:
            yield from row_of_project(session, other)


def _link_tree(source: Path, target: Path) -> None:
    for folder, _, names in os.walk(source):
        for name in names:
            path = Path(folder, name)
            _link(path, target / path.relative_to(source))


def _link(source: Path, target: Path) -> None:
    if source.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(source)
        except OSError:  # the file system has no hard links
            shutil.copyfile(source, target)


def _release(scratch: Platform, plan: RebuildPlan) -> Path:
    """Write the release to its folder in the temporary root, and return the folder's path.

    Raises:
        DifferentResultError: the recreated tables, the selection or the verdicts differ from those of the release.
    """
    config = scratch.project_config(plan.project)
    source = ReleaseSource(scratch, plan.project, config, labelling_of(scratch, config))
    source.left_out = plan.manifest.get("left_out", [])
    source.verification = _verification_of_then(plan, source.verification)
    selection = selection_of(scratch, config)
    missing = {*source.left_out, *source.unseen}
    fingerprint = release_fingerprint(config, source.fingerprints, missing, selection, source.labelling)
    if fingerprint != plan.manifest["fingerprint"]:
        tables = plan.recipe.tables
        others = [name for name, value in source.fingerprints.items() if tables.get(name) != value]
        what = f"{', '.join(others)} came out differently" if others else "its selection or verdicts differ"
        raise DifferentResultError(
            f"release {plan.project} {plan.version} cannot be rebuilt: {what}; nothing was written; restore the "
            "release from a backup instead"
        )
    standing = standing_of(scratch, config, selection)
    # Another version of this package can draw other splits for new videos.
    decided = {**standing.decided, **plan.manifest["splits"]["by_video"]}
    standing = replace(standing, decided=decided, replaced=plan.manifest)
    release = scratch.layout.release_folder(plan.project, plan.version)
    written = plan_release(scratch, standing, source, fingerprint, plan.version)
    with atomic_folder(release) as folder:
        write_release(folder, scratch, source, written)
    return release


def _verification_of_then(plan: RebuildPlan, found: VerificationCounts | None) -> VerificationCounts | None:
    """Return `found`, but take the number of boxes over budget and the number of waiting boxes from the manifest.

    Only the manifest records how many boxes were in each group. `found` is returned unchanged if it is None, if the
    manifest has no counts of a verifier, or if the sums differ.
    """
    then = plan.manifest.get("verifier")
    if found is None or then is None:
        return found
    over_budget, waiting = int(then["over_budget"]), int(then["waiting"])
    is_same = over_budget + waiting == found.over_budget + found.waiting
    return replace(found, over_budget=over_budget, waiting=waiting) if is_same else found


def _difference(plan: RebuildPlan, release: Path, original: Path) -> str:
    """Describe the difference between a release and its rebuilt copy, or return "" if every byte matches."""
    if (release / MANIFEST_FILE).read_bytes() == plan.manifest_bytes:
        return ""
    if (original / CHECKSUMS_FILE).is_file():
        were, are = dict(read_checksums(original)), dict(read_checksums(release))
        if names := sorted(name for name in were.keys() | are.keys() if were.get(name) != are.get(name)):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            return f"{', '.join(names[:3])}{more} came out differently"
    content = read_manifest(release) or {}
    names = sorted(
        name for name in content.keys() | plan.manifest.keys() if content.get(name) != plan.manifest.get(name)
    )
    return f"{', '.join(names) or 'the order of the keys'} of release.json came out differently"
