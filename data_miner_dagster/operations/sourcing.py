"""`list_sources`: from a project's sources to its members in the catalog."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.schema import ProjectRow, ProjectVideoRow, SourceListingRow, utc_now
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.config.sourcing import FilesSource, Source, UrlsSource
from data_miner_dagster.domain.errors import ConfigError, SourceError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome, VideoCandidate
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.local_files import key_of_file, list_local_videos
from data_miner_dagster.sites.ytdlp import SiteClient
from data_miner_dagster.stages.sourcing import apply_rules, first_of_each

logger = logging.getLogger("data_miner.sourcing")


@dataclass(frozen=True, slots=True)
class Listing:
    """What one query of one source gave: candidates, or an error, never neither."""

    source: str
    query: str
    candidates: tuple[VideoCandidate, ...]
    error: str | None


def list_sources(platform: Platform, project: str, *, force: bool = False) -> ProjectOutcome:
    """List a project's sources and record which videos belong to it.

    Each source fails alone, and its members of earlier listings stay. Members that a source no longer lists stay too:
    a search answers differently every day. Sources that need no network are listed every time; the others only if the
    project's configuration changed, their last listing failed, or `force`.

    Returns:
        DONE if a membership changed, REUSED if not. Counts: listed, new, repeated, members, rejected by rule,
        failed sources.

    Raises:
        ConfigError: no such project, or every source failed: the project has nothing to work with.
    """
    config = platform.project_config(project)
    with platform.hold_project(project):
        row = platform.catalog.project(project)
        assert row is not None
        base_folder = Path(row.config_file).absolute().parent if row.config_file else Path.cwd()
        listings = list(_list_all(platform, row, config, base_folder, force=force))
        failed = [listing for listing in listings if listing.error is not None]
        num_known = len(platform.catalog.videos(project=project))
        with platform.catalog.database.transaction() as session:
            for listing in listings:
                _record_listing(session, project, listing)
        if failed and len(failed) == len(listings) and num_known == 0:
            raise ConfigError(
                f"project {project!r}: no source could be listed: " + "; ".join(str(item.error) for item in failed[:3])
            )
        for listing in failed:
            logger.warning("%s: source %s could not be listed: %s", project, listing.source, listing.error)
        candidates, num_repeats = first_of_each(candidate for listing in listings for candidate in listing.candidates)
        counts = _record_members(platform, project, config, candidates, row.config_hash)
    counts = {"listed": len(candidates) + num_repeats, "repeated": num_repeats, **counts, "failed_sources": len(failed)}
    changed = counts.pop("changed")
    return ProjectOutcome(
        project=project,
        status=OutcomeStatus.DONE if changed else OutcomeStatus.REUSED,
        fingerprint=fingerprint_of({"config": row.config_hash, "members": counts["members"]}),
        counts=counts,
        metadata={f"failed: {listing.query}"[:200]: str(listing.error) for listing in failed},
    )


def _queries(config: ProjectConfig) -> Iterator[tuple[Source, str]]:
    seen: set[tuple[str, str]] = set()
    for source in config.sourcing.sources:
        queries = source.paths if isinstance(source, FilesSource) else source.urls
        for query in queries:
            if (source.type, query) not in seen:
                seen.add((source.type, query))
                yield source, query


def _list_all(
    platform: Platform, row: ProjectRow, config: ProjectConfig, base_folder: Path, *, force: bool
) -> Iterator[Listing]:
    is_changed = row.sourced_config_hash != row.config_hash
    with platform.catalog.database.transaction() as session:
        listed_well = {
            (listing.source, listing.query)
            for listing in session.scalars(select(SourceListingRow).where(SourceListingRow.project_name == row.name))
            if listing.error is None
        }
    with SiteClient(platform.config.downloading) as client:
        for source, query in _queries(config):
            if isinstance(source, UrlsSource) and not (force or is_changed or (source.type, query) not in listed_well):
                continue
            try:
                yield Listing(source.type, query, tuple(_list_one(client, source, query, base_folder)), None)
            except SourceError as error:
                yield Listing(source.type, query, (), str(error))


def _list_one(client: SiteClient, source: Source, query: str, base_folder: Path) -> list[VideoCandidate]:
    now = utc_now()
    if isinstance(source, FilesSource):
        candidates = []
        for rank, path in enumerate(list_local_videos(query, base_folder)):
            key, _ = key_of_file(path)
            candidates.append(VideoCandidate(key, os.fspath(path), source.type, query, rank, now, title=path.stem))
        return candidates
    return client.list_url(query, source=source.type, query=query, found_at=now)


def _record_listing(session: Session, project: str, listing: Listing) -> None:
    row = session.scalar(
        select(SourceListingRow).where(
            SourceListingRow.project_name == project,
            SourceListingRow.source == listing.source,
            SourceListingRow.query == listing.query,
        )
    )
    if row is None:
        row = SourceListingRow(project_name=project, source=listing.source, query=listing.query)
        session.add(row)
    row.listed_at, row.error = utc_now(), listing.error
    row.num_found = None if listing.error is not None else len(listing.candidates)


def _record_members(
    platform: Platform, project: str, config: ProjectConfig, candidates: list[VideoCandidate], config_hash: str
) -> dict[str, int]:
    """Apply the rules and write the memberships, in one transaction; return counts."""
    sourcing = config.sourcing
    with platform.catalog.database.transaction() as session:
        before = {
            member.video_key: member.status is ProjectVideoStatus.REJECTED
            for member in session.scalars(select(ProjectVideoRow).where(ProjectVideoRow.project_name == project))
        }
        listed_now = {candidate.video_key for candidate in candidates}
        cap = sourcing.max_videos
        if cap is not None:  # members of earlier listings that were not listed now keep their places
            cap -= sum(not is_rejected for key, is_rejected in before.items() if key not in listed_now)
        # Members that passed before come first, so that the cap never swaps a finished video for a new one.
        ordered = sorted(candidates, key=lambda candidate: before.get(candidate.video_key) is not False)
        rejected_by_rule: dict[RejectionRule, int] = {}
        num_new = num_changed = 0
        for candidate, rejection in apply_rules(ordered, sourcing.rules, None if cap is None else max(cap, 0)):
            reason = None if rejection is None else f"{rejection.rule.value}: {rejection.message}"
            is_new = platform.catalog.add_candidate(session, project, candidate, rejected_because=reason)
            num_new += is_new
            num_changed += is_new or before[candidate.video_key] is (rejection is None)
            if rejection is not None:
                rejected_by_rule[rejection.rule] = rejected_by_rule.get(rejection.rule, 0) + 1
        row = session.get_one(ProjectRow, project)
        row.sourced_config_hash, row.sourced_at = config_hash, utc_now()
        session.flush()
        members = session.scalars(select(ProjectVideoRow).where(ProjectVideoRow.project_name == project))
        num_members = sum(member.status is not ProjectVideoStatus.REJECTED for member in members)
    return {
        "new": num_new,
        "members": num_members,
        **{f"rejected_{rule.value}": rejected_by_rule[rule] for rule in RejectionRule if rule in rejected_by_rule},
        "changed": num_changed,
    }
