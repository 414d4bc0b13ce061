"""The results of one detector so far, in parts that are each complete or absent.

A part is a pair of tables: `000000.boxes.parquet`, then `000000.frames.parquet`, which makes the part valid. A killed
run loses at most the part that it was writing. Parts are raw: they hold the detector's output before fusion and
suppression.

If several runs write in parallel, names also contain the owner, as in `000000.3f9a01bc.boxes.parquet`. If two runs use
the same number, they write different parts, and each part is complete.
"""

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.tables import DETECTED_FRAMES_SCHEMA, DETECTIONS_SCHEMA
from data_miner_dagster.storage.atomic import sweep_partials
from data_miner_dagster.storage.tables import (
    read_fingerprint,
    read_table,
    table_from_rows,
    with_later_columns,
    write_table,
)

_FRAMES_SUFFIX: Final = ".frames.parquet"
_BOXES_SUFFIX: Final = ".boxes.parquet"

OPEN_PARTS: Final = 8
"""The number of parts to hold in memory. After several builds, a video's frames are spread over several parts."""


@dataclass(frozen=True, slots=True, order=True)
class PartName:
    """The name of a part. If two parts contain the same frame, the part with the greater name counts."""

    number: int
    owner: str = ""  # empty unless several runs write parts in parallel

    @classmethod
    def of(cls, stem: str) -> Self | None:
        """Return the part name for a file name without its suffix, or None if the file belongs to no part."""
        number, _, owner = stem.partition(".")
        return cls(int(number), owner) if number.isdigit() else None

    def __str__(self) -> str:
        """Return the name as it appears in file names."""
        return f"{self.number:06d}.{self.owner}" if self.owner else f"{self.number:06d}"


@dataclass(frozen=True, slots=True)
class DetectionParts:
    """The parts of one detector and class list, identified by `fingerprint`.

    Callers that write must hold the project's claim or a shard's claim. Runs that process shards in parallel pass a
    name with their owner to `append`.
    """

    folder: Path
    fingerprint: str
    boxes_schema: pa.Schema = DETECTIONS_SCHEMA

    def prepare(self, *, sweep: bool = True) -> None:
        """Create the folder and, with `sweep`, remove unfinished files of killed writers.

        Do not sweep while other processes may be writing to the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if sweep:
            sweep_partials(self.folder)

    def names(self, numbers: range | None = None) -> list[PartName]:
        """Return the names of the parts whose two tables both have this fingerprint, in order.

        If `numbers` is given, only parts with those numbers are returned.
        """
        stems = (path.name.removesuffix(_FRAMES_SUFFIX) for path in self.folder.glob(f"*{_FRAMES_SUFFIX}"))
        return sorted(
            name
            for name in map(PartName.of, stems)
            if name is not None
            and (numbers is None or name.number in numbers)
            and all(
                read_fingerprint(self.folder / f"{name}{suffix}") == self.fingerprint
                for suffix in (_FRAMES_SUFFIX, _BOXES_SUFFIX)
            )
        )

    def next_number(self) -> int:
        """Return the next number for a part: one more than the highest existing number, or 0 if there are no parts."""
        return max((name.number for name in self.names()), default=-1) + 1

    def append(
        self,
        boxes: Iterable[Mapping[str, object]],
        frames: Iterable[Mapping[str, object]],
        name: PartName | None = None,
    ) -> None:
        """Add one part, replacing a part with the same name.

        Args:
            boxes: the rows of `boxes_schema`.
            frames: the rows of DETECTED_FRAMES_SCHEMA, one for each examined frame, including frames without boxes.
            name: the name of the part, or None for the next number without an owner.

        Raises:
            ValueError: a row lacks a value for a non-nullable column.
        """
        name = name or PartName(self.next_number())
        for suffix, rows, schema in (
            (_BOXES_SUFFIX, boxes, self.boxes_schema),
            (_FRAMES_SUFFIX, frames, DETECTED_FRAMES_SCHEMA),
        ):
            write_table(self.folder / f"{name}{suffix}", table_from_rows(rows, schema), fingerprint=self.fingerprint)

    def seen(self, numbers: range | None = None) -> dict[str, str]:
        """Return {frame id: sha256 of the examined image} for all parts, or only for parts with the given numbers.

        If several parts contain a frame, the latest part counts.

        Raises:
            DamagedFileError: a part cannot be read.
        """
        found: dict[str, str] = {}
        for name in self.names(numbers):
            frames = read_table(self.folder / f"{name}{_FRAMES_SUFFIX}", ["frame_id", "image_sha256"])
            found.update(zip(frames["frame_id"].to_pylist(), frames["image_sha256"].to_pylist(), strict=True))
        return found

    def found(self, sha256_by_frame: Mapping[str, str]) -> "FoundBoxes":
        """Return a reader for the boxes in the given frames, passed as {frame id: sha256 of the current image}.

        Boxes that were found in an earlier image of a frame do not count. If several parts contain a frame with its
        current image, the latest part counts.

        Raises:
            DamagedFileError: a part cannot be read. The reader's `of` raises this error, too.
        """
        name_by_frame: dict[str, PartName] = {}
        for name in reversed(self.names()):
            frames = read_table(self.folder / f"{name}{_FRAMES_SUFFIX}", ["frame_id", "image_sha256"])
            for frame_id, sha256 in zip(
                frames["frame_id"].to_pylist(), frames["image_sha256"].to_pylist(), strict=True
            ):
                if sha256_by_frame.get(frame_id) == sha256:
                    name_by_frame.setdefault(frame_id, name)
        return FoundBoxes(self.folder, name_by_frame, self.boxes_schema)

    def keep_only(self, names: Collection[PartName]) -> None:
        """Remove all parts with this fingerprint except those in `names`."""
        for name in self.names():
            if name not in names:
                for suffix in (_FRAMES_SUFFIX, _BOXES_SUFFIX):  # frames first: without them, the part is not valid
                    (self.folder / f"{name}{suffix}").unlink(missing_ok=True)


class FoundBoxes:
    """The boxes in many frames, read a few parts at a time, so memory use does not grow with the number of boxes."""

    def __init__(
        self, folder: Path, name_by_frame: Mapping[str, PartName], schema: pa.Schema = DETECTIONS_SCHEMA
    ) -> None:
        self._folder = folder
        self._schema = schema
        self._name_by_frame = name_by_frame
        self._part = lru_cache(maxsize=OPEN_PARTS)(self._read)

    def of(self, frame_ids: Iterable[str]) -> pa.Table:
        """Return the boxes in some frames, sorted by frame id. Frames without boxes have no rows.

        The `OPEN_PARTS` parts that were read last stay in memory.

        Raises:
            DamagedFileError: a part cannot be read.
        """
        frames_by_name: dict[PartName, list[str]] = {}
        for frame_id in frame_ids:
            if (name := self._name_by_frame.get(frame_id)) is not None:
                frames_by_name.setdefault(name, []).append(frame_id)
        tables = [self._schema.empty_table()]
        for name, wanted in frames_by_name.items():
            boxes = self._part(name)
            tables.append(boxes.filter(pc.is_in(boxes["frame_id"], pa.array(wanted, pa.string()))))
        merged = pa.concat_tables(tables)
        # The sort is stable, so a frame's boxes keep their order.
        return merged.take(pc.sort_indices(merged, sort_keys=[("frame_id", "ascending")]))

    def _read(self, name: PartName) -> pa.Table:
        return with_later_columns(read_table(self._folder / f"{name}{_BOXES_SUFFIX}"), self._schema)


def remove_other_parts(folder: Path, keep: Sequence[Path]) -> None:
    """Remove all folders inside `folder` except those in `keep`. Each folder holds the parts of one detector."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry not in keep:
                shutil.rmtree(entry)


def remove_incomplete_parts(folder: Path) -> None:
    """Remove tables of boxes that killed writers left without a table of frames, anywhere below `folder`.

    Otherwise, if a part with the same name were added from elsewhere, its table of frames could be paired with the
    table of boxes that was left behind. Call this only while no process is writing parts below `folder`.
    """
    for boxes in folder.rglob(f"*{_BOXES_SUFFIX}"):
        if not boxes.with_name(boxes.name.removesuffix(_BOXES_SUFFIX) + _FRAMES_SUFFIX).exists():
            boxes.unlink()
