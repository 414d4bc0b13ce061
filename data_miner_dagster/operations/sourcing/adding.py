"""Add videos to a project by hand, bypassing its sources and rules."""

import logging
import os
from pathlib import Path

from data_miner_dagster.catalog.forgotten import without_forgotten
from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.domain.addresses import Origin, OwnAddress, advice_for, secret_in_address
from data_miner_dagster.domain.errors import ConfigError, SourceError
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.object_urls import is_object_address
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.politeness import PostponedError, SitePoliteness
from data_miner_dagster.operations.sourcing.local_keys import LocalKeys
from data_miner_dagster.operations.sourcing.objects import list_objects
from data_miner_dagster.operations.sourcing.queries import candidates_of_paths
from data_miner_dagster.sites.local_files import list_local_videos
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.stages.sourcing import first_of_each

logger = logging.getLogger(__name__)

BY_HAND = "by_hand"
"""Stored as the source of a member that was added by hand."""


def add_video(platform: Platform, project: str, address: str) -> list[tuple[str, bool]]:
    """Add the videos at an address or local path to a project. Return a (video key, is new) pair for each.

    Unusable entries, and videos removed on request, are left out. A member that was rejected or removed earlier is
    restored, and does not count as new.

    Raises:
        ConfigError: the project does not exist, or its stored settings do not fit this version; the address, or one
            that it lists, contains a secret; the address or path cannot be listed, or has no usable video; or all of
            its videos were removed on request.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
    """
    platform.project_config(project)
    shown = redact_url(address) if "://" in address else address
    if secret := secret_in_address(address):
        raise ConfigError(f"{shown} {advice_for(secret)}")
    found = _taken(_listed(platform, address, shown), shown)
    candidates = without_forgotten(platform.database, found)
    if not candidates:
        raise ConfigError(
            f"{found[0].video_key} was removed on request (`data-miner forget`) and cannot be added; give the "
            "address of another video"
        )
    distinct, _ = first_of_each(candidates)
    with platform.hold_project(project), platform.database.transaction() as session:
        are_new = add_candidates(session, project, [(candidate, None) for candidate in distinct], takes_back=True)
    return [(candidate.video_key, is_new) for candidate, is_new in zip(distinct, are_new, strict=True)]


def _listed(platform: Platform, address: str, shown: str) -> list[VideoCandidate]:
    try:
        return _candidates(platform, address)
    except PostponedError as error:
        raise ConfigError(f"{shown}: {error}") from None
    except SourceError as error:
        raise ConfigError(str(error) if shown in str(error) else f"{shown}: {error}") from None


def _taken(found: list[VideoCandidate], shown: str) -> list[VideoCandidate]:
    """Return the candidates that can become members, and log a warning about the others.

    Raises:
        ConfigError: no candidate can become a member, or the address of one contains a secret.
    """
    if refusals := [candidate.refusal for candidate in found if candidate.refusal is not None]:
        logger.warning(
            "%s: left out %s; the first has this problem: %s",
            shown,
            counted(len(refusals), "unusable entry", "unusable entries"),
            refusals[0],
        )
        found = [candidate for candidate in found if candidate.refusal is None]
        if not found:
            raise ConfigError(
                f"{shown} lists no video with a usable address (the first entry: {refusals[0]}); give the address of a "
                "video, or of another page"
            )
    if faults := [candidate.fault for candidate in found if candidate.fault is not None]:
        logger.warning(
            "%s: left out %s because of internal errors; the first error: %s",
            shown,
            counted(len(faults), "entry", "entries"),
            faults[0],
        )
        found = [candidate for candidate in found if candidate.fault is None]
        if not found:
            raise ConfigError(
                f"{shown} cannot be added because of an internal error: {faults[0]}; report the error, or give another "
                "address"
            )
    if not found:
        raise ConfigError(f"{shown} has no video; give the address of a video, or of a page with videos")
    if secrets := [secret for candidate in found if (secret := secret_in_address(candidate.url))]:
        raise ConfigError(
            f"{shown} lists an address with {secrets[0]}, which must not be stored, so nothing was added; give the "
            "addresses of the other videos one by one"
        )
    return found


def _candidates(platform: Platform, address: str) -> list[VideoCandidate]:
    now = utc_now()
    if "://" not in address:
        keys = LocalKeys(platform)

        def candidate_of(path: Path, rank: int) -> VideoCandidate:
            key = keys.key_of_file(path, sha256_of_file)
            return VideoCandidate(
                key, os.fspath(path), BY_HAND, address, rank, now, title=path.stem, origin=Origin.LOCAL
            )

        return candidates_of_paths(BY_HAND, address, list_local_videos(address, Path.cwd()).paths, candidate_of)
    if is_object_address(address):
        most = platform.config.downloading.limits.max_entries
        return list(list_objects(platform.config.objects, address, source=BY_HAND, most=most).candidates)
    politeness = SitePoliteness(platform)
    with SiteWorkers(
        platform.config.downloading,
        may_request=politeness.may_request,
        on_response=politeness.on_response,
        before_listing=politeness.before_listing,
        on_refusal=politeness.trip,
    ) as client:
        politeness.when_closed = client.recheck
        return client.list_address(OwnAddress(address), source=BY_HAND, query=redact_url(address), found_at=now)
