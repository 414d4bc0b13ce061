"""Run a project's queries concurrently. A query that fails does not affect the others.

Does not belong here: creating the queries (queries.py), or using their results (list_sources.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from data_miner_dagster.catalog.listings import ListingResult, queries_listed_well
from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.domain.at_work import InheritingThreads
from data_miner_dagster.domain.errors import ConfigError, SourceError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.item_faults import SMALLEST_BATCH, ItemFault, item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.politeness import PostponedError
from data_miner_dagster.operations.sourcing.queries import Query


@dataclass(frozen=True, slots=True)
class Listing:
    """The result of one query: candidates, an error, or both if entries had a fault."""

    source: str
    query: str
    candidates: tuple[VideoCandidate, ...]
    error: str | None  # without the query's name, which the caller shows
    is_of_network: bool = False  # whether a network query has succeeded
    passed_over: str = ""  # a remark on the files in a folder, glob or bucket that were left out

    @property
    def result(self) -> ListingResult:
        """The record of this listing for the catalog."""
        num_found = None if self.error is not None and not self.candidates else len(self.candidates)
        return ListingResult(self.source, self.query, num_found, self.error, self.passed_over or None)

    @property
    def problem(self) -> str:
        """The query and its error, as human-readable text. The query is not repeated if the error begins with it."""
        error = self.error or ""
        return error if error.startswith(self.query) else f"{self.query}: {error}"


def list_all(
    platform: Platform, client: SiteWorkers, row: ProjectRow, queries: list[Query], *, force: bool
) -> list[Listing]:
    """Run the local queries and the network queries that are due, and return their results in order.

    A network query is due if `force` is set, the project's configuration changed, or the query's last listing failed or
    is missing.

    Raises:
        SystematicFaultError, OutageError: all queries (three or more), or ten in a row, cause the same internal error.
    """
    is_changed = row.sourced_config_hash != row.config_hash
    listed_well = queries_listed_well(platform.database, row.name)
    wanted = [
        query
        for query in queries
        if not query.needs_network or force or is_changed or (query.source, query.text) not in listed_well
    ]
    return ask_all(platform, client, wanted)


def ask_all(platform: Platform, client: SiteWorkers, queries: Sequence[Query]) -> list[Listing]:
    """Run all `queries` concurrently, and return their results in order.

    Raises:
        SystematicFaultError, OutageError: all queries (three or more), or ten in a row, cause the same internal error.
    """
    if any(query.needs_network for query in queries):
        client.start()

    answers: dict[str, Listing] = {}  # by name

    def ask_guarded(query: Query) -> None:
        name = f"{query.source} {query.text}"

        def record(fault: ItemFault) -> None:
            answers[name] = Listing(query.source, query.text, (), fault.line)

        listing = guard.attempt(name, partial(_answer, query, client), record)
        if listing is not None:
            answers[name] = listing

    with (
        item_guard("list_sources", are_videos=False) as guard,
        InheritingThreads(platform.config.downloading.concurrent_downloads, "sourcing") as threads,
    ):
        list(threads.map(ask_guarded, queries))
    return [answers[f"{query.source} {query.text}"] for query in queries]


def _answer(query: Query, client: SiteWorkers) -> Listing:
    try:
        answer = query.ask(client)
        candidates = tuple(answer.candidates)
        faults = [candidate.fault for candidate in candidates if candidate.fault is not None]
        error = _of_faults(faults, len(candidates)) if faults else None
        if len(faults) == len(candidates) >= SMALLEST_BATCH:  # the entries are not the cause
            return Listing(query.source, query.text, (), error)
        return Listing(query.source, query.text, candidates, error, query.needs_network, answer.passed_over)
    except (SourceError, PostponedError, ConfigError) as error:
        return Listing(query.source, query.text, (), query.without_name(str(error)))


def _of_faults(lines: Sequence[str], num_entries: int) -> str:
    return f"{len(lines)} of {counted(num_entries, 'entry', 'entries')} failed with an internal error: {lines[0]}"


def with_faults(listings: Sequence[Listing], candidates: Sequence[VideoCandidate]) -> list[Listing]:
    """Return the listings, with an error added to each listing that has a candidate with a fault and no error yet.

    The error makes the next run repeat the query.
    """
    lines: dict[tuple[str, str], list[str]] = {}
    for candidate in candidates:
        if candidate.fault is not None:
            lines.setdefault((candidate.source, candidate.query), []).append(candidate.fault)
    return [
        replace(listing, error=_of_faults(found, len(listing.candidates)))
        if listing.error is None and (found := lines.get((listing.source, listing.query)))
        else listing
        for listing in listings
    ]
