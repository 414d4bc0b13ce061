"""What one detector has found so far, in parts that are each complete or absent.

A part is a pair of tables: `000000.boxes.parquet`, then `000000.frames.parquet`, which makes the part valid. A killed
run loses at most the part it was working on. Parts are raw: the detector's output before fusion and suppression.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.domain.tables import DETECTED_FRAMES_SCHEMA, DETECTIONS_SCHEMA
from data_miner_dagster.storage.atomic import sweep_partials
from data_miner_dagster.storage.tables import read_fingerprint, read_table, table_from_rows, write_table

_FRAMES_SUFFIX: Final = ".frames.parquet"
_BOXES_SUFFIX: Final = ".boxes.parquet"


@dataclass(frozen=True, slots=True)
class DetectionParts:
    """The parts of one detector and class list, identified by `fingerprint`. Used only under the project's claim."""

    folder: Path
    fingerprint: str

    def prepare(self) -> None:
        """Create the folder, and remove what a killed writer left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep_partials(self.folder)

    def _numbers(self) -> list[int]:
        """Return the numbers of the parts that have both tables, with this fingerprint."""
        names = (path.name.removesuffix(_FRAMES_SUFFIX) for path in self.folder.glob(f"*{_FRAMES_SUFFIX}"))
        return sorted(
            int(name)
            for name in names
            if name.isdigit()
            and all(
                read_fingerprint(self.folder / f"{name}{suffix}") == self.fingerprint
                for suffix in (_FRAMES_SUFFIX, _BOXES_SUFFIX)
            )
        )

    def append(self, boxes: Iterable[Mapping[str, object]], frames: Iterable[Mapping[str, object]]) -> None:
        """Add one part: rows of DETECTIONS_SCHEMA and of DETECTED_FRAMES_SCHEMA, including frames without boxes."""
        number = max(self._numbers(), default=-1) + 1
        for suffix, rows, schema in (
            (_BOXES_SUFFIX, boxes, DETECTIONS_SCHEMA),
            (_FRAMES_SUFFIX, frames, DETECTED_FRAMES_SCHEMA),
        ):
            write_table(
                self.folder / f"{number:06d}{suffix}", table_from_rows(rows, schema), fingerprint=self.fingerprint
            )

    def seen(self) -> dict[str, str]:
        """Return {frame id: sha256 of the examined image}."""
        found: dict[str, str] = {}
        for number in self._numbers():
            frames = read_table(self.folder / f"{number:06d}{_FRAMES_SUFFIX}", ["frame_id", "image_sha256"])
            found.update(zip(frames["frame_id"].to_pylist(), frames["image_sha256"].to_pylist(), strict=True))
        return found

    def boxes_of(self, sha256_by_frame: Mapping[str, str]) -> pa.Table:
        """Return the boxes of the given frames, sorted by frame. Frames examined with another image have none.

        If several parts contain a frame, the latest one counts.
        """
        tables = []
        taken: set[str] = set()
        for number in reversed(self._numbers()):
            frames = read_table(self.folder / f"{number:06d}{_FRAMES_SUFFIX}", ["frame_id", "image_sha256"])
            pairs = zip(frames["frame_id"].to_pylist(), frames["image_sha256"].to_pylist(), strict=True)
            wanted = [frame for frame, sha256 in pairs if sha256_by_frame.get(frame) == sha256 and frame not in taken]
            taken.update(wanted)
            boxes = read_table(self.folder / f"{number:06d}{_BOXES_SUFFIX}").replace_schema_metadata(None)
            tables.append(boxes.filter(pc.is_in(boxes["frame_id"], pa.array(wanted, pa.string()))))
        if not tables:
            return DETECTIONS_SCHEMA.empty_table()
        merged = pa.concat_tables(tables)
        # Stable, so a frame's boxes keep their order.
        return merged.take(pc.sort_indices(merged, sort_keys=[("frame_id", "ascending")]))


def remove_other_parts(folder: Path, keep: Sequence[Path]) -> None:
    """Remove the parts of detectors and class lists that are no longer requested."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry not in keep:
                shutil.rmtree(entry)
