"""List the videos in buckets that a user named. Addresses from sites are never used here (domain/object_urls.py)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data_miner_dagster.catalog.schema import utc_now
from data_miner_dagster.config.objects import ObjectsConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import ConfigError, ObjectError, ObjectTransientError, SourceError
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.object_urls import ObjectUrl, problem_of_object_name
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.operations.object_stores import bucket_url, open_bucket
from data_miner_dagster.protocols.stores import ObjectStore
from data_miner_dagster.sites.keys import key_of_object
from data_miner_dagster.sites.local_files import VIDEO_ENDINGS, Found


@dataclass(frozen=True, slots=True)
class ObjectListing:
    """The videos at one address, and a remark on the other entries, or "" if all entries are videos."""

    candidates: Sequence[VideoCandidate]
    remark: str


def list_objects(config: ObjectsConfig, address: str, *, source: str, most: int) -> ObjectListing:
    """Return the object at an address, or up to `most` videos below it, sorted by path.

    If there are more videos, those that the store lists first are returned.

    Raises:
        SourceError: the address is invalid, the bucket cannot be listed, or it has no videos at the address.
    """
    try:
        url = bucket_url(address)
        store = open_bucket(config, url)
        if url.path and store.find("") is not None:
            return ObjectListing([_candidate(url, source, address, 0)], "")
        passed_over: Counter[str] = Counter()
        found: list[ObjectUrl] = []
        for name in _videos_below(store, passed_over):
            found.append(url.child(name))
            if len(found) == most:
                break
    except (ConfigError, ObjectError, ObjectTransientError) as error:
        raise SourceError(str(error)) from error
    remark = Found([], passed_over).remark
    if not found:
        others = f" ({remark})" if remark else ""
        raise SourceError(f"{url} contains no videos{others}; add videos, or correct the address")
    found.sort(key=lambda entry: entry.path)
    return ObjectListing([_candidate(entry, source, address, rank) for rank, entry in enumerate(found)], remark)


def _videos_below(store: ObjectStore, passed_over: "Counter[str]") -> Iterator[str]:
    """Yield the names of videos, chosen as in a local folder, and count the other entries in `passed_over` by reason.

    Hidden entries are neither yielded nor counted.
    """
    for entry in store.entries():
        name = entry.name.rpartition("/")[2]
        if any(part.startswith(".") for part in entry.name.split("/") if part not in (".", "..")):
            continue
        ending = name.rpartition(".")[2].lower() if "." in name else ""
        if problem_of_object_name(entry.name):
            passed_over["invalid name"] += 1
        elif ending in VIDEO_ENDINGS:
            yield entry.name
        else:
            passed_over[f".{printable(ending)}" if ending else "no extension"] += 1


def _candidate(url: ObjectUrl, source: str, query: str, rank: int) -> VideoCandidate:
    title = url.name.rpartition(".")[0] or url.name
    return VideoCandidate(
        key_of_object(url), url.text, source, query, rank, utc_now(), title=title, origin=Origin.OBJECT
    )
