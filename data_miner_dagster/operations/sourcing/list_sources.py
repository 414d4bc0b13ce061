"""List a project's sources, and store its members in the catalog."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from data_miner_dagster.catalog.forgotten import without_forgotten
from data_miner_dagster.catalog.listings import forget_listings, record_listings
from data_miner_dagster.catalog.measurements import store_spent
from data_miner_dagster.catalog.members import (
    add_candidates,
    delete_faulty_entries,
    find_members,
    is_usable_member,
    member_statuses,
    take_back_reuploads,
)
from data_miner_dagster.catalog.projects import find_project, mark_sourced
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.addresses import secret_in_address
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import digest_of_key
from data_miner_dagster.domain.meters import Meter
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.reasons import RejectionRule
from data_miner_dagster.domain.records import OutcomeStatus, ProjectOutcome, Rejection, VideoCandidate
from data_miner_dagster.domain.statuses import ProjectVideoStatus
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.charging import charging
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.politeness import SitePoliteness
from data_miner_dagster.operations.project_folder import base_folder_of, limits_of_file
from data_miner_dagster.operations.sourcing.listings import Listing, list_all, with_faults
from data_miner_dagster.operations.sourcing.local_keys import LocalKeys
from data_miner_dagster.operations.sourcing.queries import LocalFiles, ProjectFolder, Query, queries_of_project
from data_miner_dagster.operations.sourcing.rules import (
    ProjectRules,
    load_rules,
    with_known,
)
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.stages.sourcing import apply_cap, first_of_each, reupload_rejection
from data_miner_dagster.storage.file_hashes import FileHashes

logger = logging.getLogger(__name__)

_A_PORTION: Final = 2_000
"""Candidates per transaction. One transaction takes a few tenths of a second and blocks other writers."""
_PAUSE_SECONDS: Final = 0.02
"""The pause between two transactions, in which other writers that poll for the lock can take it."""


def list_sources(platform: Platform, project: str, *, force: bool = False) -> ProjectOutcome:
    """List a project's sources and record which videos belong to it.

    A query that fails does not affect the others, and its members from earlier listings stay. Members that a source no
    longer lists stay too, because a search returns different results every day. Local sources are listed every time.
    Sources on the network are listed only if the project's configuration changed, their last listing failed or is
    missing, or `force` is True.

    Returns:
        An outcome with the status DONE if a membership changed, or REUSED if not. It counts the listed, repeated,
        forgotten, new and rejected candidates (the rejected ones by rule), the members, the failed queries, and the
        members from sources that the project no longer has. Forgotten candidates were removed on request earlier.

    Raises:
        ConfigError: the project does not exist, its stored settings do not fit this version, a blocklist cannot be
            read, or every query failed and the project has no member.
        ModelError: pre-screening is enabled, and its encoder cannot be loaded.
        ClaimHeldError: another worker holds the project for longer than this one may wait.
    """
    config = platform.project_config(project)
    row = find_project(platform.database, project)
    assert row is not None
    with charging(platform, project, WorkStage.SOURCING, basis=row.config_hash):
        return _list(platform, project, config, force=force)


def _list(platform: Platform, project: str, config: ProjectConfig, *, force: bool) -> ProjectOutcome:
    meter = Meter(WorkStage.SOURCING, project, platform.run_id, of_process=True)
    with platform.hold_project(project), meter.working():
        row = find_project(platform.database, project)
        assert row is not None
        known_keys = {member.video_key for member in find_members(platform.database, project)}
        hashes = FileHashes(platform.layout.file_hashes(project))
        limits = limits_of_file(platform, row.config_file)
        folder = ProjectFolder(base_folder_of(row.config_file), limits, platform.config)
        local = LocalFiles(hashes, LocalKeys(platform))
        queries = list(queries_of_project(config, folder, known_keys, local))
        with site_workers(platform) as client:
            listings = [
                replace(listing, error=listing.error and config.shown.text(listing.error))
                for listing in list_all(platform, client, row, queries, force=force)
            ]
            _settle_failures(platform, project, queries, listings)
            _log_listings(platform, project, listings)
            candidates, num_repeats = first_of_each(
                candidate for listing in listings for candidate in listing.candidates
            )
            allowed = _not_forgotten(platform, candidates, hashes)
            decided = _decide(platform, client, project, config, allowed)
        cut_short = _cut_short_of(platform, listings)
        listings = with_faults(listings, [candidate for candidate, _ in decided])
        failed = [listing for listing in listings if listing.error is not None]
        _forget_mended_entries(platform, project, listings)
        counts = _record_members(platform, project, config, decided, row.config_hash, listings)
    changed = counts.pop("changed")
    counts = {
        "listed": len(candidates) + num_repeats,
        "repeated": num_repeats,
        "forgotten": len(candidates) - len(allowed),
        **counts,
        "failed_sources": len(failed),
    }
    if num_left := _num_of_removed_sources(platform, project, queries):
        counts["of_removed_sources"] = num_left
    return ProjectOutcome(
        project=project,
        status=OutcomeStatus.DONE if changed else OutcomeStatus.REUSED,
        fingerprint=fingerprint_of({"config": row.config_hash, "members": counts["members"]}),
        counts=counts,
        metadata={
            **{f"failed: {listing.query}"[:200]: str(listing.error) for listing in failed},
            **{f"cut short: {listing.query}"[:200]: _cut_short(platform, listing) for listing in cut_short},
            **{f"in {listing.query}"[:200]: listing.passed_over for listing in listings if listing.passed_over},
        },
    )


@contextmanager
def site_workers(platform: Platform) -> Iterator[SiteWorkers]:
    """Yield the workers that send requests to sites, under the root's limits on requests."""
    politeness = SitePoliteness(platform)
    with SiteWorkers(
        platform.config.downloading,
        may_request=politeness.may_request,
        on_response=politeness.on_response,
        on_refusal=politeness.trip,
        before_listing=politeness.before_listing,
    ) as client:
        politeness.when_closed = client.recheck
        yield client


def _settle_failures(platform: Platform, project: str, queries: list[Query], listings: list[Listing]) -> None:
    """Record failed listings in the catalog, and delete the records of queries that no longer exist.

    If a listing failed, a list of queries may not have been read, so only records with errors or with left-out files
    are deleted.

    Raises:
        ConfigError: every query failed without finding a candidate, and the project has no member.
    """
    failed = [listing for listing in listings if listing.error is not None]
    with platform.database.transaction() as session:
        record_listings(session, project, [listing.result for listing in failed])
        asked = {(query.source, query.text) for query in queries}
        forget_listings(session, project, asked, is_complete=not failed)
    has_any = any(listing.candidates for listing in failed)
    has_nothing_new = bool(failed) and len(failed) == len(listings) and not has_any
    if has_nothing_new and not find_videos(platform.database, project=project):
        raise ConfigError(nothing_listed(project, failed))


def nothing_listed(project: str, failed: Sequence[Listing]) -> str:
    """Return the message that no query of a project found a candidate, with the problems of the first three queries."""
    more = f" (and {len(failed) - 3} more)" if len(failed) > 3 else ""
    return f"no source of project {project!r} could be listed: {'; '.join(item.problem for item in failed[:3])}{more}"


def _log_listings(platform: Platform, project: str, listings: list[Listing]) -> None:
    for listing in _cut_short_of(platform, listings):
        logger.warning("%s: %s: %s", project, listing.query, _cut_short(platform, listing))
    for listing in listings:
        if listing.error is not None:
            how = "be listed only in part" if listing.candidates else "not be listed"
            named = (project, listing.source, listing.query)
            logger.warning("%s: %s %s could %s, and will be retried in the next run: %s", *named, how, listing.error)
    for listing in listings:
        if listing.passed_over:
            logger.info("%s: %s %s: %s", project, listing.source, listing.query, listing.passed_over)


def _not_forgotten(platform: Platform, candidates: list[VideoCandidate], hashes: FileHashes) -> list[VideoCandidate]:
    """Return the candidates that were not removed on request, and delete the stored hashes of the others."""
    allowed = without_forgotten(platform.database, candidates)
    forgotten = {item.video_key for item in candidates} - {item.video_key for item in allowed}
    hashes.drop([digest for key in sorted(forgotten) if (digest := digest_of_key(key)) is not None])
    hashes.save()
    return allowed


def _num_of_removed_sources(platform: Platform, project: str, queries: list[Query]) -> int:
    """Return the number of members whose query is no longer in the project, and log a warning if there are any.

    Rejected members and those added by hand are not counted.
    """
    present = {(query.source, query.text) for query in queries}
    keys = [
        member.video_key
        for member in find_members(platform.database, project)
        if member.status is not ProjectVideoStatus.REJECTED
        and member.source != RejectionRule.BY_HAND.value
        and (member.source, member.query) not in present
    ]
    if keys:
        logger.warning(
            "%s: the project still has %s from sources that its file no longer names (%s%s); to remove a video, run "
            "`data-miner delete-videos KEY --project %s`",
            project,
            counted(len(keys), "video"),
            ", ".join(keys[:3]),
            f" and {len(keys) - 3} more" if len(keys) > 3 else "",
            project,
        )
    return len(keys)


def _cut_short_of(platform: Platform, listings: list[Listing]) -> list[Listing]:
    most = platform.config.downloading.limits.max_entries
    return [listing for listing in listings if listing.is_of_network and len(listing.candidates) >= most]


def _cut_short(platform: Platform, listing: Listing) -> str:
    return (
        f"stopped after {counted(len(listing.candidates), 'entry', 'entries')}, and there may be more; "
        f"raise platform.downloading.limits.max_entries ({platform.config.downloading.limits.max_entries}), then run "
        "`data-miner populate --config FILE --force` to list more"
    )


# --- deciding ---


def _decide(
    platform: Platform, client: SiteWorkers, project: str, config: ProjectConfig, candidates: list[VideoCandidate]
) -> list[tuple[VideoCandidate, Rejection | None]]:
    """Apply the rules to the known facts. If pre-screening is enabled, pre-screen the candidates that pass.

    A known re-upload is rejected if the rules skip re-uploads. A candidate that causes an internal error is rejected as
    well.

    Return a (candidate, rejection or None) pair for each candidate.
    """
    rules = load_rules(platform, project)
    rows = {row.key: row for row in find_videos(platform.database, [candidate.video_key for candidate in candidates])}
    decided: list[tuple[VideoCandidate, Rejection | None]] = []
    with item_guard("list_sources") as guard:
        for listed in candidates:

            def record(fault: ItemFault, listed: VideoCandidate = listed) -> None:
                faulty = replace(listed, fault=fault.line)
                decided.append((faulty, Rejection(RejectionRule.INTERNAL_ERROR, fault.line)))

            row = rows.get(listed.video_key)
            made = guard.attempt(listed.video_key, partial(by_rules, rules, listed, row), record)
            if made is not None and made[1] is None and row is not None and rules.rules.skip_reuploads:
                made = made[0], _as_reupload(platform, project, row)
            if made is not None:
                decided.append(made)
    if not config.sourcing.prescreening.enabled:
        return decided
    from data_miner_dagster.operations.sourcing.prescreening import prescreen  # imports OpenCV, which few listings need

    passing = [candidate for candidate, rejection in decided if rejection is None]
    by_key = prescreen(platform, client, project, config, passing)
    words = config.shown.text
    by_key = {key: replace(rejection, message=words(rejection.message)) for key, rejection in by_key.items()}
    return [(candidate, rejection or by_key.get(candidate.video_key)) for candidate, rejection in decided]


def by_rules(
    rules: ProjectRules, listed: VideoCandidate, row: VideoRow | None
) -> tuple[VideoCandidate, Rejection | None]:
    """Complete a candidate with facts from its catalog row. Return it with its rejection, or with None if it passes.

    An address with a secret is redacted in the returned candidate.
    """
    if listed.fault is not None:
        return listed, Rejection(RejectionRule.INTERNAL_ERROR, listed.fault)
    if listed.refusal is not None:
        return listed, Rejection(RejectionRule.REFUSED_ADDRESS, listed.refusal)
    if secret := secret_in_address(listed.url):
        # The site itself listed this address. Such addresses expire soon and must not be stored in the catalog.
        shown = replace(listed, url=redact_url(listed.url), thumbnail_url=None)
        return shown, Rejection(RejectionRule.SECRET_ADDRESS, f"its address contains {secret}")
    candidate = with_known(listed, row)
    is_complete = row is not None and row.sha256 is not None and listed.origin.is_of_site
    return candidate, rules.rejection_of(candidate, is_complete=is_complete)


def _as_reupload(platform: Platform, project: str, row: VideoRow) -> Rejection | None:
    """Return the rejection of a video that duplicates a usable member of the project, or None for any other video."""
    if row.duplicate_of is None:
        return None
    with platform.database.reading() as session:
        is_usable = is_usable_member(session, project, row.duplicate_of)
    return reupload_rejection(row.duplicate_of) if is_usable else None


# --- recording ---


def _forget_mended_entries(platform: Platform, project: str, listings: list[Listing]) -> None:
    """Delete the members whose entry had a fault earlier and is missing from the new listing of its query."""
    listed = {(listing.source, listing.query) for listing in listings if listing.candidates}
    still_there = {candidate.video_key for listing in listings for candidate in listing.candidates}
    delete_faulty_entries(platform.database, project, listed, still_there)


def _record_members(
    platform: Platform,
    project: str,
    config: ProjectConfig,
    decided: list[tuple[VideoCandidate, Rejection | None]],
    config_hash: str,
    listings: list[Listing],
) -> dict[str, int]:
    """Apply the limit `sourcing.max_videos`, store the memberships, and return the counts.

    The count `changed` is the number of changed memberships. A source may list any number of videos, so memberships are
    written in several transactions, and other processes can write between them. The last transaction marks the queries
    as listed. If the process dies before that, the queries are repeated, and existing rows stay unchanged.
    """
    database = platform.database
    with database.reading() as session:
        known = member_statuses(session, project)
    passed_before = {key for key, status in known.items() if status is not ProjectVideoStatus.REJECTED}
    listed_now = {candidate.video_key for candidate, _ in decided}
    cap = config.sourcing.max_videos
    if cap is not None:  # members from earlier listings that were not listed now keep their places
        cap = max(0, cap - len(passed_before - listed_now))
    # Members that passed before come first, so that the cap never replaces a finished video with a new one.
    ordered = sorted(decided, key=lambda pair: pair[0].video_key not in passed_before)
    capped = list(apply_cap(ordered, cap))
    for start in range(0, len(capped), _A_PORTION):
        portion = capped[start : start + _A_PORTION]
        with database.transaction() as session:
            add_candidates(
                session,
                project,
                [(candidate, str(rejection) if rejection else None) for candidate, rejection in portion],
            )
        time.sleep(_PAUSE_SECONDS if len(portion) == _A_PORTION else 0.0)
    with database.transaction() as session:
        take_back_reuploads(session, project)
        record_listings(session, project, [listing.result for listing in listings])
        mark_sourced(session, project, config_hash)
        store_spent(session, project)
        statuses = member_statuses(session, project).values()
    num_members = sum(status is not ProjectVideoStatus.REJECTED for status in statuses)
    num_new = sum(candidate.video_key not in known for candidate, _ in capped)
    num_changed = num_new + sum(
        candidate.video_key in known and (candidate.video_key in passed_before) != (rejection is None)
        for candidate, rejection in capped
    )
    num_by_rule = Counter(rejection.rule for _, rejection in capped if rejection is not None)
    return {
        "new": num_new,
        "members": num_members,
        **{f"rejected_{rule.value}": num_by_rule[rule] for rule in RejectionRule if rule in num_by_rule},
        "changed": num_changed,
    }
