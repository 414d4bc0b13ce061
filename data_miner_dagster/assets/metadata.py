"""Limit the metadata of a Dagster event to a few readable values, whatever an operation reports.

Dagster stores every byte of an event, and SQLite stores it twice. Larger results are in files: previews, reports and
tables.
"""

import json
from collections.abc import Collection, Mapping
from typing import Final

import dagster as dg
from dagster import serialize_value

from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.phrases import counted_phrase, phrase_of
from data_miner_dagster.domain.reasons import DropReason, DuplicateTier
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.sizes import size_text

MAX_METADATA_BYTES: Final = 1_000
"""The maximum size in bytes of all metadata of one event in Dagster's storage.

Each entry takes 140 bytes in addition to its text.
"""

_CUT: Final = "…"
_REASONS: Final = frozenset(reason.value for reasons in (DropReason, DuplicateTier) for reason in reasons)
_RARE: Final = _REASONS | {
    "repeated",
    "forgotten",
    "failed_sources",
    "waiting for review",
    "images without boxes",
    "images without any detection",
}
"""Counts that are shown only if they are not zero."""


def bounded(metadata: Mapping[str, dg.MetadataValue], *, first: Collection[str] = ()) -> dict[str, dg.MetadataValue]:
    """Return the entries that fit into `MAX_METADATA_BYTES`, in their original order.

    Control and invisible characters in text are escaped, since names of files and videos may contain them. Text that
    does not fit is shortened. Any other value that does not fit is omitted. Space is reserved for the entries named in
    `first`; the others share the remaining space in order.
    """
    fitting: dict[str, dg.MetadataValue] = {}
    reserved = {name: metadata[name] for name in first if name in metadata}
    for name, value in metadata.items():
        reserved.pop(name, None)
        others = {**fitting, **reserved}
        room = MAX_METADATA_BYTES - len("[]") - stored_bytes(others) - (len(", ") if others else 0)
        shown = _visible(value)
        entry = shown if stored_bytes({name: shown}) <= room else _cut(name, shown, room)
        if entry is not None:
            fitting[name] = entry
    return fitting


def _visible(value: dg.MetadataValue) -> dg.MetadataValue:
    if isinstance(value, dg.TextMetadataValue):
        return dg.MetadataValue.text(printable(value.text or ""))
    if isinstance(value, dg.MarkdownMetadataValue):
        return dg.MetadataValue.md(printable(value.md_str or ""))
    return value


def stored_bytes(metadata: Mapping[str, dg.MetadataValue]) -> int:
    """Return the number of bytes that `metadata` adds to an event in Dagster's storage."""
    return len(_as_stored(metadata)) - len(_as_stored({}))


def counts_line(counts: Mapping[str, int | float | str], *, without: Collection[str] = ()) -> str:
    """Return figures as a single line, such as `frames 120, kept 25`, without the figures named in `without`.

    Counts of reasons are omitted if they are zero.
    """
    told = {name: value for name, value in counts.items() if name not in without and (value or name not in _REASONS)}
    return ", ".join(f"{phrase_of(name)} {_figure(name, value)}" for name, value in told.items())


def main_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return `counts` without zeros, but always keep the first two counts, which characterize a stage."""
    return {name: count for place, (name, count) in enumerate(counts.items()) if count or place < 2}


def counts_words(counts: Mapping[str, int]) -> str:
    """Return counts as one readable line, such as `120 frames, 25 kept`, without the `_RARE` counts that are zero."""
    told = {name: count for name, count in counts.items() if count or name not in _RARE}
    return ", ".join(counted_phrase(count, name) for name, count in told.items())


def _figure(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return with_references(value)
    if name.endswith("_bytes"):
        return size_text(int(value))
    if name.endswith("_seconds"):
        return f"{value:.6g} s"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _as_stored(metadata: Mapping[str, dg.MetadataValue]) -> str:
    return serialize_value(dg.AssetMaterialization("a", metadata=dict(metadata)))


def _cut(name: str, value: dg.MetadataValue, room: int) -> dg.MetadataValue | None:
    """Return `value` shortened so that its entry takes at most `room` bytes.

    Return None if `value` is not text, or if none of its text would remain.
    """
    if not isinstance(value, dg.TextMetadataValue) or not value.text:
        return None
    left = room - stored_bytes({name: dg.MetadataValue.text(_CUT)})
    num_characters = 0
    for character in value.text:
        left -= len(json.dumps(character)) - 2
        if left < 0:
            break
        num_characters += 1
    return dg.MetadataValue.text(f"{value.text[:num_characters]}{_CUT}") if num_characters else None
