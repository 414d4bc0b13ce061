"""People's verdicts in files: the verdicts applied to a table, and the file that earlier versions wrote.

The verdicts themselves are rows in the catalog (catalog/verdicts.py).
"""

import csv
import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.verdicts import SAME_FRAME_SECONDS, FramePlace, ReviewQueue, Verdict, VerdictWord

_METADATA_KEY: Final = "data_miner.verdicts"
_NEEDED: Final = ("frame_id", "pts_seconds", "verdict")
_WORDS: Final = {"keep": VerdictWord.KEEP, "drop": VerdictWord.DROP}
_UNKNOWN_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_verdict_file(path: Path) -> list[Verdict]:
    """Return the verdicts on frames that an earlier version stored in a file, or an empty list if there is no file.

    The columns are frame_id, pts_seconds, verdict (keep or drop), who and given_at. The last two may be empty.

    Raises:
        ConfigError: a line is not a valid verdict, or the file is not UTF-8 text.
        OSError: the file cannot be read.
    """
    verdicts = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets add a byte order mark
            reader = csv.DictReader(file)
            for row in reader:
                try:
                    verdicts.append(_verdict(row))
                except ValueError as error:
                    raise ConfigError(
                        f"line {reader.line_num} of {path} is not a valid verdict ({error}); correct or remove the line"
                    ) from error
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text; save it as UTF-8, or restore it from a backup") from error
    except csv.Error as error:
        raise ConfigError(f"{path} is not a CSV file ({error}); correct it, or restore it from a backup") from error
    return verdicts


def _verdict(row: Mapping[str, str | None]) -> Verdict:
    if missing := [name for name in _NEEDED if not row.get(name)]:
        raise ValueError(f"{', '.join(missing)} must not be empty")
    frame_id, seconds, word = (row[name] or "" for name in _NEEDED)
    if word not in _WORDS:
        raise ValueError(f"the verdict is {word!r}; use keep or drop")
    given_at = row.get("given_at")
    return Verdict(
        answer_id=fingerprint_of({"line": dict(row)}),
        word=_WORDS[word],
        place=FramePlace(split_frame_id(frame_id)[0], float(seconds)),
        frame_id=frame_id,
        queue=ReviewQueue.IMPORTED,
        who=row.get("who") or "",
        given_at=_time(given_at) if given_at else _UNKNOWN_TIME,
    )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def verdicts_on(said: Mapping[tuple[str, float], bool], video_keys: Collection[str]) -> dict[tuple[str, float], bool]:
    """Return the entries of `said` for the given videos, sorted by (video key, seconds). True means kept."""
    wanted = frozenset(video_keys)
    return {place: said[place] for place in sorted(said) if place[0] in wanted}


def verdicts_fingerprint(said: Mapping[tuple[str, float], bool]) -> str:
    """Return the fingerprint of verdicts, given as {(video key, time in seconds): True if kept}.

    The fingerprint does not depend on who gave a verdict, or when.
    """
    return fingerprint_of({"verdicts": [[key, pts_seconds, kept] for (key, pts_seconds), kept in sorted(said.items())]})


def as_table_metadata(said: Mapping[tuple[str, float], bool]) -> dict[str, str]:
    """Return the table metadata that records the verdicts applied to the rows, or an empty dict if `said` is empty."""
    rows = [[key, pts_seconds, kept] for (key, pts_seconds), kept in sorted(said.items())]
    return {_METADATA_KEY: json.dumps(rows)} if rows else {}


class KeptPlaces:
    """The frames that people decided to keep, for lookup by video and time."""

    def __init__(self, places: Iterable[tuple[str, float]]) -> None:
        self._by_video: dict[str, list[float]] = {}
        for video_key, pts_seconds in sorted(places):
            self._by_video.setdefault(video_key, []).append(pts_seconds)

    def holds(self, video_key: str, pts_seconds: float) -> bool:
        """Return whether a person kept the frame at this time. A time that another tool has rounded still matches."""
        times = self._by_video.get(video_key, [])
        at = bisect_left(times, pts_seconds)
        return any(abs(time - pts_seconds) < SAME_FRAME_SECONDS for time in times[max(0, at - 1) : at + 1])


def kept_by_hand(metadata: Mapping[str, str]) -> KeptPlaces:
    """Return the frames that people decided to keep, according to a table's metadata."""
    said = json.loads(metadata.get(_METADATA_KEY, "[]"))
    return KeptPlaces((key, pts_seconds) for key, pts_seconds, kept in said if kept)
