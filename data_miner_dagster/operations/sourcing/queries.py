"""Create the queries of a project's sources, without repeats. No request is made until a query's `ask` is called."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, assert_never

import yaml

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.config.sourcing import (
    ChannelsSource,
    FeedsSource,
    FilesSource,
    FramesSource,
    HashtagsSource,
    ObjectsSource,
    PlaylistsSource,
    SearchSource,
    Source,
    UrlFilesSource,
    UrlsSource,
)
from data_miner_dagster.config.text_files import MAX_LIST_BYTES, check_yaml_shape, read_text_file
from data_miner_dagster.domain.addresses import Origin, OwnAddress, advice_for, secret_in_address
from data_miner_dagster.domain.errors import ConfigError, SourceError
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.item_faults import ItemFault, attempt_alone, item_guard
from data_miner_dagster.operations.sourcing.local_keys import LocalKeys
from data_miner_dagster.operations.sourcing.objects import list_objects
from data_miner_dagster.sites.folders import is_glob, located, matches_of
from data_miner_dagster.sites.local_files import (
    key_of_path,
    list_frame_folders,
    list_frames,
    list_local_videos,
)
from data_miner_dagster.sites.queries import channel_address, hashtag_address, search_address
from data_miner_dagster.sites.records import ListingLimits
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.stages.sourcing import list_entries
from data_miner_dagster.storage.file_hashes import FileHashes

_OF_SECRETS: Final = " #"
"""The separator between a query without its secrets and the digest that distinguishes it."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query of one source."""

    source: str  # the source's type
    text: str  # for provenance: the path, address or words, without secrets
    needs_network: bool
    ask: Callable[[SiteWorkers], "Answer"]  # may raise SourceError, PostponedError or ConfigError

    def without_name(self, message: str) -> str:
        """Return a message about this query without the query's name, which the caller shows."""
        name, mark, _ = self.text.rpartition(_OF_SECRETS)
        return message.removeprefix(f"{self.text}: ").removeprefix(f"{name}: " if mark else "")


@dataclass(frozen=True, slots=True)
class Answer:
    """The candidates that a query lists. `passed_over` is a remark on the other entries, or an empty string."""

    candidates: Sequence[VideoCandidate]
    passed_over: str = ""


@dataclass(frozen=True, slots=True)
class ProjectFolder:
    """The folder to which a project's paths are relative, and the limits on the files that the project may access."""

    path: Path
    limits: ProjectLimits
    platform: PlatformConfig

    def checked(self, paths: Sequence[Path], *, is_text: bool = False) -> Sequence[Path]:
        """Return the paths unchanged if all of them are allowed.

        Raises:
            SourceError: a path is outside the folders that the project file may access.
        """
        for path in paths:
            if problem := self.limits.problem_of_path(path, is_text=is_text):
                raise SourceError(problem)
        return paths


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """The hashes and keys that listings of local files need."""

    hashes: FileHashes
    keys: LocalKeys


def queries_of_project(
    config: ProjectConfig, folder: ProjectFolder, known_keys: Collection[str], local: LocalFiles
) -> Iterator[Query]:
    """Yield the queries of all sources in order, each once.

    A source, list file or line of a list file that is not allowed or cannot be used yields a query whose `ask` raises
    SourceError.
    """
    seen: set[tuple[str, str]] = set()
    shown = config.shown
    for number, source in enumerate(config.sourcing.sources):
        name = f"sourcing.sources.{number}"
        if problem := folder.limits.problem_of_source(source):  # allowed at registration, but no longer
            yield _failing(source.type, name, f"{name}.{problem}")
            continue
        found = attempt_alone("list_sources", name, partial(_list_of_queries, source, folder, known_keys, local))
        if isinstance(found, ItemFault):
            yield _failing(source.type, name, found.line)
            continue
        for query in found:
            query = _masked(query, shown.text(query.text))
            if (query.source, query.text) not in seen:
                seen.add((query.source, query.text))
                yield query


def _list_of_queries(
    source: Source, folder: ProjectFolder, known_keys: Collection[str], local: LocalFiles
) -> list[Query]:
    return list(_queries_of(source, folder, known_keys, local))


def _masked(query: Query, text: str) -> Query:
    """Return a query with the text `text`, which is also set in the candidates that the query finds."""
    if text == query.text:
        return query

    def ask(client: SiteWorkers) -> Answer:
        answer = query.ask(client)
        return replace(answer, candidates=[replace(candidate, query=text) for candidate in answer.candidates])

    return replace(query, text=text, ask=ask)


def _queries_of(
    source: Source, folder: ProjectFolder, known_keys: Collection[str], local: LocalFiles
) -> Iterator[Query]:
    match source:
        case FilesSource():
            yield from (_local(source.type, entry, _list_files, folder, local) for entry in source.paths)
        case FramesSource():
            yield from (_local(source.type, entry, _list_frame_folders, folder, local) for entry in source.folders)
        case ObjectsSource():
            yield from (_objects(source.type, url, folder.platform) for url in source.urls)
        case UrlsSource():
            yield from (_address(source.type, url, url) for url in source.urls)
        case UrlFilesSource():
            yield from chain.from_iterable(_queries_of_url_file(source, entry, folder) for entry in source.paths)
        case SearchSource():
            yield from (_search(source, words, source.max_results) for words in source.queries)
            yield from chain.from_iterable(
                _queries_of_query_file(source, entry, folder) for entry in source.query_files
            )
        case HashtagsSource():
            limits = ListingLimits(source.max_results)
            yield from (_address(source.type, tag, hashtag_address(tag), limits) for tag in source.hashtags)
        case PlaylistsSource() | FeedsSource():
            limits = ListingLimits(source.max_results)
            yield from (_address(source.type, url, url, limits) for url in source.urls)
        case ChannelsSource():
            yield from _queries_of_channels(source, known_keys)
        case _:
            assert_never(source)


def _local(
    source: str,
    entry: str,
    list_entry: Callable[[str, ProjectFolder, LocalFiles], Answer],
    folder: ProjectFolder,
    local: LocalFiles,
) -> Query:
    return Query(source, entry, False, lambda _client: list_entry(entry, folder, local))


def _objects(source: str, url: str, platform: PlatformConfig) -> Query:
    most = platform.downloading.limits.max_entries

    def ask(_client: SiteWorkers) -> Answer:
        found = list_objects(platform.objects, url, source=source, most=most)
        return Answer(found.candidates, found.remark)

    return Query(source, url, True, ask)


def _queries_of_channels(source: ChannelsSource, known_keys: Collection[str]) -> Iterator[Query]:
    known = frozenset(known_keys) if source.only_new else frozenset[str]()
    limits = ListingLimits(source.max_results, known, source.published_after)
    for url in source.urls:
        yield _address(
            source.type, url, channel_address(url), limits, lambda candidate: not _is_after(candidate, source)
        )


def _is_after(candidate: VideoCandidate, source: ChannelsSource) -> bool:
    return (
        source.published_before is not None
        and candidate.upload_date is not None
        and candidate.upload_date >= source.published_before
    )


def _shown(text: str) -> str:
    """Return a query's text without secrets. If any were removed, a digest distinguishes it from other queries."""
    shown = redact_url(text) if "://" in text else text
    return shown if shown == text else f"{shown}{_OF_SECRETS}{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _address(
    source: str,
    text: str,
    address: str,
    limits: ListingLimits | None = None,
    is_wanted: Callable[[VideoCandidate], bool] = lambda _candidate: True,
) -> Query:
    shown = _shown(text)

    def ask(client: SiteWorkers) -> Answer:
        found = client.list_address(OwnAddress(address), source=source, query=shown, found_at=utc_now(), limits=limits)
        return Answer([candidate for candidate in found if is_wanted(candidate)])

    return Query(source, shown, True, ask)


def _search(source: SearchSource, words: str, max_results: int) -> Query:
    return _address(source.type, words, search_address(source.site, words, max_results), ListingLimits(max_results))


def _failing(source: str, text: str, message: str) -> Query:
    def ask(_client: SiteWorkers) -> Answer:
        raise SourceError(message)

    return Query(source, text, False, ask)


def _queries_of_url_file(source: UrlFilesSource, entry: str, folder: ProjectFolder) -> Iterator[Query]:
    try:
        lines = [
            line
            for path in _text_files(entry, folder)
            for line in list_entries(read_text_file(path, max_bytes=MAX_LIST_BYTES))
        ]
    except (SourceError, ConfigError, OSError) as error:
        yield _failing(source.type, entry, _problem_of_file(error))
        return
    if not lines:
        yield _failing(source.type, entry, "the file contains no address; write one per line")
    for line in lines:
        if problem := folder.limits.problem_of_address(line):
            yield _failing(source.type, _shown(line), problem)
            continue
        if secret := secret_in_address(line):
            yield _failing(source.type, _shown(line), advice_for(secret))
            continue
        yield _address(source.type, line, line, ListingLimits(source.max_per_url))


def _queries_of_query_file(source: SearchSource, entry: str, folder: ProjectFolder) -> Iterator[Query]:
    try:
        for path in _text_files(entry, folder):
            text = read_text_file(path)
            check_yaml_shape(text)
            content = yaml.safe_load(text)
            for words, max_results in _read_query_file(content, source.max_results):
                if problem := folder.limits.problem_of_address(words):
                    yield _failing(source.type, words, f"{entry}: {problem}")
                else:
                    yield _search(source, words, max_results)
    except (SourceError, ConfigError, OSError, ValueError, yaml.YAMLError) as error:
        yield _failing(source.type, entry, _problem_of_file(error))


def _problem_of_file(error: Exception) -> str:
    """Return one line about an error that reading a list file raised."""
    line = " ".join(str(error).split())
    if isinstance(error, OSError):
        return f"the path cannot be read ({error.strerror or line}); correct it or its permissions"
    return f"the file is not valid YAML ({line}); correct it" if isinstance(error, yaml.YAMLError) else line


def _read_query_file(content: object, max_results: int) -> Iterator[tuple[str, int]]:
    queries = content.get("queries") if isinstance(content, dict) else content
    if not isinstance(queries, list) or not queries:
        raise SourceError("the file contains no list of queries; write one, such as [red bus, tram]")
    for item in queries:
        if isinstance(item, str) and item.strip():
            yield item, max_results
        elif (
            isinstance(item, dict)
            and item.keys() <= {"query", "max_results"}
            and isinstance(item.get("query"), str)
            and isinstance(item.get("max_results", 1), int)
            and item.get("max_results", 1) >= 1
        ):
            yield item["query"], item.get("max_results", max_results)
        else:
            raise SourceError(
                f"{item!r} is neither a search text nor {{query: TEXT, max_results: NUMBER}} with a number of at least "
                "1; correct it"
            )


def _text_files(entry: str, folder: ProjectFolder) -> list[Path]:
    path = located(entry, folder.path)
    if path.is_file():
        return [*folder.checked([path], is_text=True)]
    matches = matches_of(entry, folder.path) if is_glob(entry) else []
    found = [match for match in matches if match.is_file()]
    if not found:
        raise SourceError("no file was found; correct the path")
    return [*folder.checked(found, is_text=True)]


def _list_files(entry: str, folder: ProjectFolder, local: LocalFiles) -> Answer:
    now = utc_now()

    def candidate_of(path: Path, rank: int) -> VideoCandidate:
        key = local.keys.key_of_file(path, local.hashes.sha256_of)
        return VideoCandidate(key, os.fspath(path), "files", entry, rank, now, title=path.stem, origin=Origin.LOCAL)

    found = list_local_videos(entry, folder.path)
    return Answer(candidates_of_paths("files", entry, folder.checked(found.paths), candidate_of), found.remark)


def _list_frame_folders(entry: str, folder: ProjectFolder, local: LocalFiles) -> Answer:
    now = utc_now()

    def candidate_of(folder: Path, rank: int) -> VideoCandidate:
        paths = list_frames(folder)
        return VideoCandidate(
            local.keys.key_of_frames(paths, local.hashes.sha256_of),
            os.fspath(folder),
            "frames",
            entry,
            rank,
            now,
            title=folder.name,
            duration_seconds=float(len(paths)),
            origin=Origin.LOCAL,
        )

    found = list_frame_folders(entry, folder.path)
    if folder.limits.media_folders is not None:
        folder.checked([picture for path in found.paths for picture in list_frames(path)])  # each may be a link
    return Answer(candidates_of_paths("frames", entry, folder.checked(found.paths), candidate_of), found.remark)


def candidates_of_paths(
    source: str, entry: str, paths: Sequence[Path], candidate_of: Callable[[Path, int], VideoCandidate]
) -> list[VideoCandidate]:
    """Return one candidate per path, in order. A candidate whose path caused an internal error has a `fault`.

    Raises:
        SystematicFaultError, OutageError: all paths (three or more), or ten in a row, cause the same internal error.
    """
    found: dict[int, VideoCandidate] = {}

    def record(fault: ItemFault, rank: int, path: Path) -> None:
        found[rank] = VideoCandidate(
            key_of_path(path), os.fspath(path), source, entry, rank, utc_now(), origin=Origin.LOCAL, fault=fault.line
        )

    with item_guard("list_sources", are_videos=False) as guard:
        for rank, path in enumerate(paths):
            candidate = guard.attempt(
                os.fspath(path), partial(candidate_of, path, rank), partial(record, rank=rank, path=path)
            )
            if candidate is not None:
                found[rank] = candidate
    return [found[rank] for rank in sorted(found)]
