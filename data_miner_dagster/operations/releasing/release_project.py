"""Publish an immutable, verified release of a project, and write its report. This is the last stage."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final

from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import date_next_look, update_project
from data_miner_dagster.catalog.releases import add_release, find_releases
from data_miner_dagster.catalog.schema import ReleaseRow
from data_miner_dagster.catalog.splits import add_generations
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.measurements import Measured
from data_miner_dagster.domain.meters import note
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome
from data_miner_dagster.domain.statuses import TABLE_STAGES, ProjectStage, ProjectVideoStatus
from data_miner_dagster.domain.versions import RELEASING_VERSION, REPORT_VERSION
from data_miner_dagster.export.manifest import damaged_files, read_manifest
from data_miner_dagster.operations.detection.detect_project import num_unreadable_frames
from data_miner_dagster.operations.item_faults import ItemFault, attempt_extra
from data_miner_dagster.operations.left_out import going_on_without, read_left_out, record_left_out
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_stage import project_stage
from data_miner_dagster.operations.releasing.inputs import stored_inputs
from data_miner_dagster.operations.releasing.labelling import Labelling
from data_miner_dagster.operations.releasing.planning import Standing
from data_miner_dagster.operations.releasing.quality import labelling_of
from data_miner_dagster.operations.releasing.selecting import selection_of
from data_miner_dagster.operations.releasing.source import ReleaseSource
from data_miner_dagster.operations.releasing.splitting import decided_splits
from data_miner_dagster.operations.releasing.writing import plan_release, write_release
from data_miner_dagster.operations.reporting.costs import cost_of
from data_miner_dagster.operations.reporting.funnel import funnel_before_release
from data_miner_dagster.operations.reporting.report import write_report
from data_miner_dagster.operations.split_memory import (
    read_manifests,
    released_generations,
    released_splits,
    remember_splits,
)
from data_miner_dagster.operations.stage_versions import record_stage_versions
from data_miner_dagster.operations.verification.verify_boxes import read_verification
from data_miner_dagster.stages.costs import cost_line
from data_miner_dagster.stages.releasing import FrameOutcome, ImageSelection, next_version
from data_miner_dagster.storage.atomic import atomic_folder, sweep_partials

_NOT_OF_CONTENT: Final = {"copy_images", "leak_hash_distance", "leak_cosine"}
"""Settings of `releasing` that do not affect the content of a release."""


def release_project(
    platform: Platform, project: str, *, force: bool = False, selection: ImageSelection | None = None
) -> ProjectOutcome:
    """Publish the current state of a project as a new version, unless a release of exactly this state exists.

    The release is read back and then published with a single rename. Its catalog row and report are written afterwards.
    Frames whose images are missing or unreadable are left out and counted. A release without these frames is a separate
    version. Once the images are available again, the next build publishes the complete release.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        force: compare every file of an existing release with its recorded sha256, and write the release again if it
            is damaged. The report is rewritten in any case.
        selection: the choice among all releasable images, or None for the project's `releasing.select`.

    Raises:
        ConfigError: the project does not exist, or `releasing.fixed_splits` names an unknown video.
        NothingToReleaseError: no image can be released; the message contains the reason and the remedy.
        NotReadyError: an earlier stage has not run.
        DataMinerError: an earlier stage is out of date, a model is missing, or the release cannot be read back.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
    """
    config = platform.project_config(project)
    with project_stage(platform, project, ProjectStage.RELEASING) as stage:
        releases = platform.layout.releases_folder(project)
        sweep_partials(releases)
        source = ReleaseSource(platform, project, config, labelling_of(platform, config))
        selection = selection or selection_of(platform, config)
        standing = standing_of(platform, config, selection)

        def publish(left_out: Mapping[str, str]) -> tuple[str, OutcomeStatus]:
            source.left_out = sorted(left_out)
            missing = {*source.left_out, *source.unseen}
            fingerprint = release_fingerprint(config, source.fingerprints, missing, selection, source.labelling)
            existing = _find_release(standing, fingerprint)
            if existing is not None and not (force and damaged_files(releases / existing)):
                return existing, OutcomeStatus.REUSED
            stage.begin()
            version = existing or next_version(_known_versions(platform, standing))
            replaced = standing.manifests[existing] if existing is not None else None
            plan = plan_release(platform, replace(standing, replaced=replaced), source, fingerprint, version)
            with (
                stored_inputs(platform, config, version, source.fingerprints),
                atomic_folder(releases / version) as folder,
            ):
                write_release(folder, platform, source, plan)
            return version, OutcomeStatus.DONE

        (version, status), left_out = going_on_without(publish)
        record_left_out(platform, project, {key: line for key, line in left_out.items() if key in source.video_keys})
        is_new = status is OutcomeStatus.DONE
        manifest = _written_manifest(platform, project, version) if is_new else standing.manifests[version]
        if is_new:
            note(Measured(num_frames=manifest["num_images"], num_boxes=manifest["num_boxes"]))
        outcome = _finish(platform, standing, manifest, status, rewrite_report=force or is_new)
        return replace(outcome, counts={**outcome.counts, "left out": len(left_out)}) if left_out else outcome


def release_fingerprint(
    config: ProjectConfig,
    tables: Mapping[str, str],
    missing: Collection[str] = (),
    selection: ImageSelection | None = None,
    labelling: Labelling | None = None,
) -> str:
    """Return the fingerprint of everything that the content of a release depends on.

    Settings that are None are excluded, so that adding a setting does not make existing releases stale.

    Args:
        config: the project's configuration.
        tables: the fingerprints of the project's tables, by name.
        missing: the keys of videos and ids of frames that are left out because their files are missing or unreadable.
        selection: the choice among all releasable images, or None to release all.
        labelling: the labelling whose verdicts and calibration are included, or None to include neither.
    """
    return fingerprint_of(
        {
            **({"missing": sorted(missing)} if missing else {}),
            **({"selection": dict(selection.settings)} if selection is not None else {}),
            **(labelling.settings if labelling is not None else {}),
            "version": RELEASING_VERSION,
            "description": config.description,
            "releasing": config.releasing.model_dump(mode="json", exclude=_NOT_OF_CONTENT, exclude_none=True),
            "classes": list(config.detection.classes),  # in order: the position is the class id
            "tables": dict(tables),
        }
    )


def standing_of(platform: Platform, config: ProjectConfig, selection: ImageSelection | None) -> Standing:
    """Return the state of a project before a release.

    Raises:
        ConfigError: `releasing.fixed_splits` names something that is not a video of the project.
        DataMinerError: a table exists but cannot be read.
    """
    project = config.name
    manifests = read_manifests(platform, project)
    return Standing(
        config,
        manifests,
        rows=find_releases(platform.database, project),
        decided=decided_splits(platform, config, manifests),
        funnel=funnel_before_release(platform, config),
        selection=selection,
    )


def _find_release(standing: Standing, fingerprint: str) -> str | None:
    """Return the newest release with this fingerprint that was not withdrawn and agrees with the decided splits.

    Return None if there is no such release on disk.
    """
    withdrawn = {row.version for row in standing.rows if row.withdrawn_reason}
    for version in reversed(list(standing.manifests)):
        manifest = standing.manifests[version]
        if manifest["fingerprint"] != fingerprint or version in withdrawn:
            continue
        if manifest["splits"]["by_video"].items() <= standing.decided.items():
            return version
    return None


def _known_versions(platform: Platform, standing: Standing) -> set[str]:
    """Return all versions that have a folder or a catalog row. A new release must not reuse any of them."""
    folder = platform.layout.releases_folder(standing.config.name)
    on_disk = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    return on_disk | {row.version for row in standing.rows}


def _written_manifest(platform: Platform, project: str, version: str) -> dict[str, Any]:
    manifest = read_manifest(platform.layout.release_folder(project, version))
    if manifest is None:
        raise DataMinerError(
            f"release {project} {version} disappeared while it was being recorded; run `data-miner run --config FILE` "
            "or materialize `dataset` again"
        )
    return manifest


def _num_videos_considered(platform: Platform, project: str) -> int:
    considered = (ProjectVideoStatus.FILTERED, ProjectVideoStatus.FILTERED_EMPTY)
    return sum(member.status in considered for member in find_members(platform.database, project))


def _num_left_out(platform: Platform, project: str, manifest: Mapping[str, Any]) -> int:
    """Return how many videos and frames this build left out, plus the number of boxes waiting for the verifier."""
    layout = platform.layout
    num_videos = sum(len(read_left_out(layout.table_of(project, stage))) for stage in TABLE_STAGES)
    detected = layout.detected_frames_table(project)
    verification = read_verification(detected)
    return (
        num_videos
        + len(read_left_out(detected))
        + num_unreadable_frames(detected)
        + len(manifest.get("left_out", ()))
        + (verification.waiting if verification is not None else 0)
    )


def _num_unanswered(manifest: Mapping[str, Any]) -> int:
    return int(manifest["verifier"]["waiting"]) if "verifier" in manifest else 0


def _finish(
    platform: Platform, standing: Standing, manifest: dict[str, Any], status: OutcomeStatus, *, rewrite_report: bool
) -> ProjectOutcome:
    """Update the catalog for a published release, write its report unless it is current, and return the outcome."""
    config, project, version = standing.config, standing.config.name, manifest["version"]
    manifests = {**standing.manifests, version: manifest}
    released, generations = released_splits(manifests), released_generations(manifests)
    with platform.database.transaction() as session:
        if status is OutcomeStatus.DONE:
            store_spent(session, project, is_over=False)  # the cost then includes the release itself
        cost = cost_of(session, project, manifest["num_images"], manifest["num_boxes"]).as_json()
        remember_splits(session, project, released)
        add_generations(session, project, generations)
        add_release(
            session,
            ReleaseRow(
                project_name=project,
                version=version,
                fingerprint=manifest["fingerprint"],
                num_videos=_num_videos_considered(platform, project),
                num_images=manifest["num_images"],
                num_boxes=manifest["num_boxes"],
                cost=cost,
            ),
        )
    update_project(platform.database, project, released_version=version)
    date_next_look(platform.database, project, num_left_out=_num_left_out(platform, project, manifest))
    report = attempt_extra(
        "report", project, lambda: str(write_report(platform, config, manifest, rewrite=rewrite_report))
    )
    record_stage_versions(platform, project, releasing=RELEASING_VERSION, report=REPORT_VERSION)
    counts = standing.funnel.with_release(version, manifest).as_counts()
    update_project(platform.database, project, counts=counts)
    release = platform.layout.release_folder(project, version)
    return ProjectOutcome(
        project=project,
        status=status,
        fingerprint=manifest["fingerprint"],
        counts={
            "videos": manifest["num_videos"],
            "images": manifest["num_images"],
            "boxes": manifest["num_boxes"],
            "waiting for review": manifest["frames"][FrameOutcome.HELD.value],
            "images without boxes": manifest["num_images_without_boxes"],
            "images without any detection": manifest["num_images_without_detections"],
            **({"boxes waiting for the verifier": waiting} if (waiting := _num_unanswered(manifest)) else {}),
            **{f"images in {split}": number for split, number in manifest["images_by_split"].items()},
            **{f"boxes of {name}": manifest["boxes_by_class"][name] for name in manifest["classes"]},
        },
        metadata={
            **({"warning": warning} if (warning := manifest["unsure"]["warning"]) else {}),
            **({"verifier": manifest["verifier"]["line"]} if "verifier" in manifest else {}),
            "version": version,
            "cost": cost_line(cost),
            "release": str(release),
            "report": f"not drawn: {report.line}" if isinstance(report, ItemFault) else report,
        },
    )
