"""People's verdicts on single frames, as CSV: kept permanently, since they cannot be made again.

A verdict applies to a time in a video, so it survives when frames are extracted again. The frame id records which frame
was shown at the time.
"""

import csv
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.storage.answers import write_csv

_COLUMNS: Final = ("frame_id", "pts_seconds", "verdict", "who", "given_at")
_METADATA_KEY: Final = "data_miner.verdicts"
_WORDS: Final = {"keep": True, "drop": False}


@dataclass(frozen=True, slots=True)
class FrameVerdict:
    """A person's verdict on one frame."""

    frame_id: str
    pts_seconds: float
    is_kept: bool
    who: str
    given_at: str  # ISO, UTC

    @property
    def video_key(self) -> str:
        """The key of the frame's video."""
        return split_frame_id(self.frame_id)[0]


Verdicts = Mapping[tuple[str, float], FrameVerdict]
"""Verdicts by (video key, pts_seconds)."""


def read_verdicts(path: Path) -> dict[tuple[str, float], FrameVerdict]:
    """Return the verdicts of a project, or an empty dict if there is no file.

    Raises:
        ConfigError: the file is not in the format of `write_verdicts`.
    """
    verdicts = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets add a byte order mark
            reader = csv.DictReader(file)
            for row in reader:
                try:
                    verdict = FrameVerdict(
                        row["frame_id"],
                        float(row["pts_seconds"]),
                        _WORDS[row["verdict"]],
                        row["who"] or "",
                        row["given_at"] or "",
                    )
                    verdicts[verdict.video_key, verdict.pts_seconds] = verdict
                except (KeyError, TypeError, ValueError) as error:
                    raise ConfigError(
                        f"{path}: line {reader.line_num} is no verdict ({type(error).__name__}: {error}); "
                        "mend or remove it"
                    ) from error
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; restore it from a copy") from error
    return verdicts


def write_verdicts(path: Path, verdicts: Verdicts) -> None:
    """Write the verdicts of a project atomically, by video and time. The same verdicts yield the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (
            verdict.frame_id,
            repr(verdict.pts_seconds),  # reads back as the same number
            "keep" if verdict.is_kept else "drop",
            verdict.who,
            verdict.given_at,
        )
        for _, verdict in sorted(verdicts.items())
    ]
    write_csv(path, _COLUMNS, rows)


def verdicts_on(verdicts: Verdicts, video_keys: Collection[str]) -> dict[tuple[str, float], bool]:
    """Return the verdicts (True: kept) on the given videos, by video and time, in order."""
    wanted = frozenset(video_keys)
    return {place: verdicts[place].is_kept for place in sorted(verdicts) if place[0] in wanted}


def verdicts_fingerprint(said: Mapping[tuple[str, float], bool]) -> str:
    """Return the fingerprint of these verdicts for decisions based on them. Who gave them, and when, has no effect."""
    return fingerprint_of({"verdicts": [[key, pts_seconds, kept] for (key, pts_seconds), kept in sorted(said.items())]})


def as_table_metadata(said: Mapping[tuple[str, float], bool]) -> dict[str, str]:
    """Return table metadata that records the verdicts applied to its rows; empty if there are none."""
    rows = [[key, pts_seconds, kept] for (key, pts_seconds), kept in sorted(said.items())]
    return {_METADATA_KEY: json.dumps(rows)} if rows else {}


def kept_by_hand(metadata: Mapping[str, str]) -> frozenset[tuple[str, float]]:
    """Return the frames kept by people, by video and time, according to a table's metadata."""
    return frozenset(
        (key, pts_seconds) for key, pts_seconds, kept in json.loads(metadata.get(_METADATA_KEY, "[]")) if kept
    )
