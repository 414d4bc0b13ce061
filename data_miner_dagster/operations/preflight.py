"""Check settings, models and paths before any work starts, so that a mistake costs a second rather than a night."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.config.sourcing import FilesSource
from data_miner_dagster.config.verification import VerifierConfig
from data_miner_dagster.domain.errors import ConfigError, SourceError
from data_miner_dagster.domain.unwritable import writing_to_root
from data_miner_dagster.models.provider import ModelRole, is_on_this_machine
from data_miner_dagster.models.registry import BUILT_IN
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.exemplars import find_exemplars
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.folders import located
from data_miner_dagster.sites.local_files import is_there, list_local_videos


def check_root_is_writable(root: Path) -> None:
    """Create the root if it is missing, and check that it is writable by writing and removing a file in it.

    Raises:
        ConfigError: the root cannot be created or written to.
    """
    probe = root / f".writable-{uuid.uuid4().hex[:8]}"
    with writing_to_root(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()


def check_before_work(platform: Platform, project: ProjectConfig) -> None:
    """Check everything that can be checked without any work: root, sampling, models, classes, and other projects.

    The sections in `REMEMBERED_SECTIONS` are then stored in the root.

    Raises:
        ConfigError: the root is not writable or was sampled with different settings, a model or the verifier does not
            exist or may not be used, a detector does not know a class or does not accept its exemplars, or a project to
            compare with has not been deduplicated yet.
        ModelError: weights are missing, or must be fetched from a hub that does not answer or does not serve them, or a
            detector's classes cannot be read.
    """
    check_against_platform(platform, project)
    for role in _roles_of(platform, project):
        role.check_reachable()
    check_root_is_writable(platform.root)
    platform.check_sampling()


def lines_of_models_to_fetch(platform: Platform, project: ProjectConfig) -> list[str]:
    """Return a list with at most one line, which names the models that must be fetched from a hub."""
    entries = [role.entry for role in _roles_of(platform, project) if not is_on_this_machine(role.entry)]
    if not entries:
        return []
    # Imported here because only hub models need this module.
    from data_miner_dagster.models.hub import profile_of_models

    names = list(dict.fromkeys(entry.name for entry in entries))
    remedies = []
    if (profile := profile_of_models(entries)) is not None:
        them = "it" if len(names) == 1 else "them"
        remedies.append(f"`data-miner models fetch --profile {profile}` fetches {them} now")
    if any(profile_of_models([entry]) is not None for entry in entries):
        remedies.append("`--profile lite` uses small models that need no hub")
    what = f"model {names[0]} is" if len(names) == 1 else f"models {', '.join(names)} are"
    return ["; ".join([f"{what} fetched from the model hub when first used", *remedies])]


def _roles_of(platform: Platform, project: ProjectConfig) -> Iterator[ModelRole[Any]]:
    """Yield the project's models that run in this process."""
    detection, models = project.detection, platform.models
    yield from (*models.roles[:2], *models.detectors(detection.detectors))
    if detection.tracker_model is not None:
        yield models.video_tracker(detection.tracker_model)
    verifier = detection.verifier_name
    if verifier is not None and verifier not in models.config.endpoints and verifier in models.config.registry:
        yield models.verifier(verifier)


def check_against_platform(platform: Platform, project: ProjectConfig) -> None:
    """Check a project against the root and the models: sampling, other projects, models, classes and verifier.

    Nothing is written, and no request is sent.

    Raises:
        ConfigError: the root was sampled with different settings, a model or the verifier does not exist or may not be
            used, a detector does not know a class or does not accept its exemplars, or a project to compare with has
            not been deduplicated yet.
        ModelError: weights are missing, or a detector's classes cannot be read.
    """
    platform.compare_sampling()
    for other in project.deduplication.against_projects:
        is_there = platform.has_catalog and find_project(platform.database, other) is not None
        if is_there and not platform.layout.deduplicated_table(other).exists():
            raise ConfigError(
                f"deduplication.against_projects names {other!r}, which has not been deduplicated yet; "
                "run that project first"
            )
    platform.models.check_available(project.detection.detectors)
    if project.detection.tracker_model is not None:
        platform.models.check_tracker_available(project.detection.tracker_model)
    check_models_and_classes(platform, project)


def check_models_and_classes(platform: Platform, project: ProjectConfig) -> None:
    """Check that the models and the verifier may be used, and that the detectors know the project's classes.

    Raises:
        ConfigError: a model does not exist, its licence is not allowed, a detector does not know a class or does not
            accept its exemplars, or the verifier may not be used.
        ModelError: a detector's classes cannot be read, or the verifier's model is missing.
    """
    detection = project.detection
    platform.models.check_allowed(detection.detectors, detection.verifier_name, detection.tracker_model)
    for detector in platform.models.detectors(project.detection.detectors):
        check_classes(detector.entry, project.detection.class_prompts, project.detection.exemplar_paths)
    if project.detection.verifier is not None:
        check_verifier(platform, project.detection.verifier)


def check_verifier(platform: Platform, config: VerifierConfig) -> None:
    """Check that a project's verifier may be used, without sending a request.

    Raises:
        ConfigError: the endpoint or model does not exist, its key is missing, its address is not allowed, or there is a
            cost limit but no known price.
        ModelError: the verifier's model is missing.
    """
    endpoints = platform.config.models.endpoints
    endpoint = endpoints.get(config.model)
    if endpoint is None:
        if config.model not in platform.models.config.registry:
            entry = BUILT_IN.get(config.model)
            what = "is" if entry is None else f"is a model of kind {entry.capability.value} and is"
            raise ConfigError(
                f"detection.verifier.model {config.model!r} {what} in neither platform.models.endpoints "
                f"({', '.join(sorted(endpoints)) or 'none'}) nor platform.models.registry; "
                f"{'add it to' if entry is None else 'use a verifier from'} one of them"
            )
        platform.models.check_verifier_available(config.model)
    else:
        # Imported here because Dagster's definitions, which check project files, do not need an HTTP client.
        from data_miner_dagster.sites.chat_endpoints import check_endpoint

        check_endpoint(config.model, endpoint, platform.config.downloading.allowed_private_hosts)
    if config.max_cost is not None and (endpoint is None or not endpoint.is_priced):
        remedy = "" if endpoint is None else "give it in platform.models.endpoints, or "
        raise ConfigError(
            f"detection.verifier.max_cost is {config.max_cost:g}, but the price of an answer by {config.model} is not "
            f"known; {remedy}leave out max_cost"
        )


def check_paths(project: ProjectConfig, folder: Path) -> None:
    """Check that every local path of a project exists. Relative paths are resolved against `folder`.

    Exemplars are read to compute their sha256.

    Raises:
        ConfigError: a path does not exist, or an exemplar is unreadable or too large.
    """
    find_exemplars(project.filtering, folder)
    find_exemplars(project.detection, folder)
    for number, source in enumerate(project.sourcing.sources):
        for name in ("paths", "folders", "query_files"):
            for entry in getattr(source, name, ()):
                if not is_there(entry, folder):
                    path = str(located(entry, folder))
                    where = f"{entry!r}" if path == entry else f"{entry!r} ({path})"
                    raise ConfigError(
                        f"sourcing.sources.{number}.{name}: there is no file or folder {where}; correct the path"
                    )


def folders_without_videos(project: ProjectConfig, folder: Path) -> list[str]:
    """Return a line for each path of a `files` source that contains no video yet or cannot be read.

    Relative paths are resolved against `folder`.
    """
    lines = []
    for number, source in enumerate(project.sourcing.sources):
        for entry in source.paths if isinstance(source, FilesSource) else ():
            try:
                list_local_videos(entry, folder)
            except SourceError as error:
                lines.append(f"sourcing.sources.{number}.paths: {error}")
    return lines
