"""Draw previews of a stage's decisions for the UI, the report and the terminal. Equal results give equal images.

Functions that return a preview return None if the stage has not run or there is nothing to show. Functions that return
tiles return an empty list in that case.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.phrases import counted, phrase_of
from data_miner_dagster.domain.reasons import DropReason
from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.media.contact_sheets import (
    MAX_SHEET_BYTES,
    Tile,
    TileBox,
    Verdict,
    contact_sheet,
)
from data_miner_dagster.operations.filtering.open_frames import rules_of
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.releasing import at_threshold
from data_miner_dagster.storage.atomic import atomic_path
from data_miner_dagster.storage.by_video import rows_of_frames
from data_miner_dagster.storage.frames import has_frames, images_of_frames, read_frame_images, read_frames
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.tables import has_values, read_table

TILES_PER_PREVIEW: Final = 12
COLUMNS: Final = 4
_PREVIEW_COLUMNS: Final = 2
"""The number of columns that Dagster's UI shows on a laptop without cutting one off."""
_BOX_COLUMNS: Final = ("frame_id", "class_name", "confidence", "x_min", "y_min", "x_max", "y_max")
_MOST_BOXES_DRAWN: Final = 12


@dataclass(frozen=True, slots=True)
class Preview:
    """A WebP image, such as a contact sheet, and the number of tiles or points that it shows."""

    num_shown: int
    sheet: bytes


def save_preview(preview: Preview, path: Path) -> None:
    """Write a preview's image to a file, unless the file already contains the same bytes."""
    if path.is_file() and path.read_bytes() == preview.sheet:
        return
    with atomic_path(path) as partial:
        partial.write_bytes(preview.sheet)


def frames_preview(platform: Platform, video_key: str, *, num_tiles: int = TILES_PER_PREVIEW) -> Preview | None:
    """Return a preview of frames spread evenly over a video, with quality flags marked, or None if it has no frames."""
    if not has_frames(platform.layout, video_key):
        return None
    table = read_frames(platform.layout, video_key, ["frame_index", "pts_seconds", "quality_flag"])
    images = read_frame_images(platform.layout, video_key)
    tiles = []
    for row in table.take(_spread(table.num_rows, num_tiles)).to_pylist():
        flag = row["quality_flag"]
        tiles.append(
            Tile(
                images[row["frame_index"]].file,
                f"{row['pts_seconds']:.2f} s" + (f" · {phrase_of(flag)}" if flag else ""),
                Verdict.DROPPED if flag else Verdict.NEUTRAL,
            )
        )
    return _preview(platform, tiles, f"{len(tiles)} of {counted(table.num_rows, 'frame')}")


def filtering_preview(platform: Platform, project: str, *, num_tiles: int = TILES_PER_PREVIEW) -> Preview | None:
    """Return a preview of kept frames followed by dropped frames, or None if no frame has been filtered.

    The kept frames are the most similar ones followed by the least similar ones. The dropped frames cycle through the
    drop reasons, beginning with the most similar frame of each reason.
    """
    half = max(1, num_tiles // 2)
    num_kept = max(half, num_tiles - len(dropped_tiles(platform, project, half)))
    kept = kept_tiles(platform, platform.project_config(project), num_kept, num_narrow=num_kept // 3)
    dropped = dropped_tiles(platform, project, num_tiles - len(kept))
    tiles = [*kept, *dropped]
    return _preview(platform, tiles, _filtering_heading(platform, project, len(tiles)))


def _filtering_heading(platform: Platform, project: str, num_shown: int) -> str:
    """Return a heading with the numbers of frames and the range of thresholds, or "" if filtering has not run."""
    table = _read(platform.layout.filtered_table(project), ["is_kept"])
    if table is None:
        return ""
    num_kept = pc.sum(table["is_kept"]).as_py() or 0
    rules = rules_of(platform, platform.project_config(project).filtering)
    thresholds = sorted({rule.threshold for rule in rules.positive if rule.threshold is not None})
    return f"{num_shown} of {counted(table.num_rows, 'frame')}; {num_kept:,} kept; threshold {_from_to(thresholds)}"


def _from_to(values: Sequence[float]) -> str:
    """Return the range of sorted values as text, such as "0.2 to 0.3", or "none" if there are no values."""
    return " to ".join(f"{value:g}" for value in dict.fromkeys((values[0], values[-1]))) if values else "none"


def deduplication_preview(platform: Platform, project: str, *, num_tiles: int = TILES_PER_PREVIEW) -> Preview | None:
    """Return a preview of the largest duplicate groups, one per row: the representative, then its nearest duplicate.

    Return None if deduplication has not run or has found no duplicates.
    """
    tiles = duplicate_tiles(platform, project, num_tiles, per_group=_PREVIEW_COLUMNS)
    table = _read(platform.layout.deduplicated_table(project), ["is_representative"])
    num_unique = 0 if table is None else pc.sum(table["is_representative"]).as_py() or 0
    whole = "" if table is None else f"{num_unique:,} unique of {counted(table.num_rows, 'frame')}; the largest groups"
    return _preview(platform, tiles, whole)


def detections_preview(platform: Platform, project: str, *, num_tiles: int = TILES_PER_PREVIEW) -> Preview | None:
    """Return a preview of frames with boxes at or above the release threshold, or None if there are no such boxes.

    The frames cycle through the classes, beginning with the most confident frame of each class.
    """
    tiles = detection_tiles(platform, platform.project_config(project), num_tiles)
    return _preview(platform, tiles, _boxes_heading(platform, project, tiles))


def dataset_preview(platform: Platform, project: str, *, num_tiles: int = TILES_PER_PREVIEW) -> Preview | None:
    """Return a preview of frames with boxes at or above the release threshold.

    The frames cycle through the classes, beginning with the most confident frame of each class. If there are no such
    boxes, the preview shows representatives. If there are no representatives either, the result is None.
    """
    tiles = detection_tiles(platform, platform.project_config(project), num_tiles)
    heading = _boxes_heading(platform, project, tiles) if tiles else ""
    return _preview(platform, tiles or unique_tiles(platform, project, num_tiles), heading)


def _boxes_heading(platform: Platform, project: str, tiles: Sequence[Tile]) -> str:
    """Return a heading with the numbers of frames and the range of thresholds, or "" if detection has not run."""
    table = _read(platform.layout.detected_frames_table(project), ["num_boxes"])
    if table is None:
        return ""
    config = platform.project_config(project)
    limits = sorted({config.releasing.threshold_of(name) for name in config.detection.classes})
    return f"{len(tiles)} of {counted(table.num_rows, 'frame')}; boxes from confidence {_from_to(limits)}"


def _preview(platform: Platform, tiles: Sequence[Tile], heading: str = "") -> Preview | None:
    """Return a preview that shows the tiles, or None if there are no tiles."""
    if not tiles:
        return None
    with StoredPictures(platform.config.extraction) as pictures:
        sheet = contact_sheet(tiles, pictures, columns=_PREVIEW_COLUMNS, max_bytes=MAX_SHEET_BYTES, heading=heading)
        return Preview(len(tiles), sheet)


def kept_tiles(platform: Platform, config: ProjectConfig, num_tiles: int, *, num_narrow: int = 0) -> list[Tile]:
    """Return tiles of kept frames, most similar first. The last `num_narrow` show the least similar kept frames."""
    columns = ["frame_id", "pts_seconds", "positive_similarity", "positive_prompt", "is_kept"]
    table = _read(platform.layout.filtered_table(config.name), columns)
    if table is None:
        return []
    kept = table.filter(table["is_kept"])
    ranked = kept.sort_by([("positive_similarity", "descending"), ("frame_id", "ascending")])
    best = ranked.slice(0, num_tiles - num_narrow)
    narrow = ranked.slice(max(best.num_rows, ranked.num_rows - num_narrow))
    rows = [*best.to_pylist(), *narrow.to_pylist()]
    return [
        Tile(
            image,
            f"{row['positive_similarity']:.2f} {_prompt(config, row['positive_prompt'])}",
            Verdict.KEPT,
            detail=row["frame_id"],
        )
        for row, image in zip(rows, _images(platform.layout, rows), strict=True)
    ]


def dropped_tiles(platform: Platform, project: str, num_tiles: int) -> list[Tile]:
    """Return tiles of dropped frames that cycle through the drop reasons, most similar frames first."""
    columns = ["frame_id", "pts_seconds", "positive_similarity", "drop_reason"]
    table = _read(platform.layout.filtered_table(project), columns)
    if table is None:
        return []
    dropped = table.filter(pc.is_valid(table["drop_reason"]))
    ranked = dropped.sort_by([("positive_similarity", "descending"), ("frame_id", "ascending")])
    rows = _in_turn(ranked, "drop_reason", num_tiles)
    return [
        Tile(image, _drop_caption(row), Verdict.DROPPED, detail=row["frame_id"])
        for row, image in zip(rows, _images(platform.layout, rows), strict=True)
    ]


def _prompt(config: ProjectConfig, text: str) -> str:
    """Return the caption of a prompt: its text, the name of its first exemplar, and the number of other exemplars."""
    names = [Path(name).name for name in config.filtering.exemplar_paths.get(text, ())]
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    beside = f" + {names[0]}{others}" if names else ""
    return f"{config.shown.text(text)}{beside}"


def narrow_tiles(platform: Platform, config: ProjectConfig, num_tiles: int) -> list[Tile]:
    """Return tiles of the least similar kept frames, and of the most similar frames dropped for low similarity."""
    columns = ["frame_id", "pts_seconds", "positive_similarity", "positive_prompt", "is_kept", "drop_reason"]
    table = _read(platform.layout.filtered_table(config.name), columns)
    if table is None:
        return []
    lowest = [("positive_similarity", "ascending"), ("frame_id", "ascending")]
    highest = [("positive_similarity", "descending"), ("frame_id", "ascending")]
    kept = table.filter(table["is_kept"]).sort_by(lowest).slice(0, -(-num_tiles // 2)).to_pylist()
    below = table.filter(pc.equal(table["drop_reason"], DropReason.BELOW_POSITIVE.value))
    rows = [*kept, *below.sort_by(highest).slice(0, num_tiles - len(kept)).to_pylist()]
    return [
        Tile(
            image,
            f"{row['positive_similarity']:.3f} {_prompt(config, row['positive_prompt'])}",
            Verdict.KEPT if row["is_kept"] else Verdict.DROPPED,
            detail=row["frame_id"],
        )
        for row, image in zip(rows, _images(platform.layout, rows), strict=True)
    ]


def duplicate_tiles(platform: Platform, project: str, num_tiles: int, *, per_group: int = COLUMNS) -> list[Tile]:
    """Return tiles of the largest duplicate groups: each representative, followed by its nearest duplicates.

    Each group starts a new row of `per_group` tiles. Rows are padded with empty tiles.
    """
    columns = ["frame_id", "is_representative", "representative_frame_id", "similarity", "tier"]
    table = _read(platform.layout.deduplicated_table(project), columns)
    if table is None:
        return []
    removed = table.filter(pc.invert(table["is_representative"]))
    if removed.num_rows == 0:
        return []
    sizes = removed.group_by("representative_frame_id").aggregate([("frame_id", "count")])
    largest = sizes.sort_by([("frame_id_count", "descending"), ("representative_frame_id", "ascending")])
    tiles: list[Tile] = []
    for group in largest.slice(0, max(1, num_tiles // per_group)).to_pylist():
        representative = group["representative_frame_id"]
        members = removed.filter(pc.equal(removed["representative_frame_id"], representative))
        nearest = members.sort_by([("similarity", "descending"), ("frame_id", "ascending")])
        rows = [{"frame_id": representative}, *nearest.slice(0, per_group - 1).to_pylist()]
        images = _images(platform.layout, rows)
        # Empty tiles, so that every group starts a new row.
        tiles += [Tile(None)] * (-len(tiles) % per_group)
        tiles.append(Tile(images[0], f"kept for {group['frame_id_count']} more", Verdict.KEPT, detail=representative))
        for row, image in zip(rows[1:], images[1:], strict=True):
            similarity = "" if row["similarity"] is None else f"{row['similarity']:.3f} "
            tiles.append(
                Tile(image, f"{similarity}{phrase_of(row['tier'])}", Verdict.DUPLICATE, detail=row["frame_id"])
            )
    return tiles


def unique_tiles(platform: Platform, project: str, num_tiles: int) -> list[Tile]:
    """Return tiles of representatives, spread evenly over the project."""
    table = _read(platform.layout.deduplicated_table(project), ["frame_id", "is_representative"])
    if table is None:
        return []
    unique = table.filter(table["is_representative"])
    rows = unique.take(_spread(unique.num_rows, num_tiles)).to_pylist()
    return [
        Tile(image, row["frame_id"], Verdict.KEPT)
        for row, image in zip(rows, _images(platform.layout, rows), strict=True)
    ]


def detection_tiles(platform: Platform, config: ProjectConfig, num_tiles: int) -> list[Tile]:
    """Return tiles of frames with boxes at or above the release threshold.

    A tile shows the most confident of these boxes (at most _MOST_BOXES_DRAWN) with their masks. The frames cycle
    through the classes, beginning with the most confident frame of each class.
    """
    limit = config.releasing.threshold_of
    class_names = list(config.detection.classes)
    table = _read(platform.layout.detections_table(config.name), [*_BOX_COLUMNS])
    if table is None or table.num_rows == 0:
        return []
    passing = pa.concat_tables(
        [
            of_class.filter(pa.array(at_threshold(of_class["confidence"].to_numpy(), limit(name))))
            for name in class_names
            for of_class in [table.filter(pc.equal(table["class_name"], name))]
        ]
    ).sort_by([("confidence", "descending"), ("frame_id", "ascending")])
    chosen = _in_turn(passing, "class_name", num_tiles, distinct="frame_id")
    masks = _masks_by_box(platform.layout.detections_table(config.name), [row["frame_id"] for row in chosen])
    tiles = []
    for row, image in zip(chosen, _images(platform.layout, chosen), strict=True):
        boxes = passing.filter(pc.equal(passing["frame_id"], row["frame_id"])).slice(0, _MOST_BOXES_DRAWN).to_pylist()
        tiles.append(
            Tile(
                image,
                ", ".join(f"{number} {name}" for name, number in _in_class_order(boxes, class_names)),
                Verdict.NEUTRAL,
                tuple(
                    TileBox(
                        (box["x_min"], box["y_min"], box["x_max"], box["y_max"]),
                        class_names.index(box["class_name"]),
                        f"{box['class_name']} {box['confidence']:.2f}",
                        masks.get(tuple(box.values())),
                    )
                    for box in boxes
                ),
                detail=row["frame_id"],
            )
        )
    return tiles


def _masks_by_box(path: Path, frame_ids: Sequence[str]) -> Mapping[tuple[object, ...], Mask]:
    """Return the masks of the boxes on the given frames, keyed by the boxes' values in `_BOX_COLUMNS`."""
    if not has_values(path, "mask"):
        return {}
    rows = rows_of_frames(path, frame_ids, [*_BOX_COLUMNS, "mask"]).to_pylist()
    return {tuple(row[name] for name in _BOX_COLUMNS): Mask.from_coco(row["mask"]) for row in rows if row["mask"]}


def _in_class_order(boxes: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> list[tuple[str, int]]:
    counts = [(name, sum(box["class_name"] == name for box in boxes)) for name in class_names]
    return [(name, number) for name, number in counts if number]


def _drop_caption(row: Mapping[str, Any]) -> str:
    reason = phrase_of(row["drop_reason"])
    return reason if row["positive_similarity"] is None else f"{row['positive_similarity']:.2f} {reason}"


def _read(path: Path, columns: list[str]) -> pa.Table | None:
    return read_table(path, columns) if path.is_file() else None


def _spread(num_rows: int, num_wanted: int) -> pa.Array:
    """Return the ascending indices of `num_wanted` evenly spread rows, including the first and the last row.

    If there are fewer rows, all indices are returned. If `num_wanted` is 1, the middle row is returned.
    """
    if num_rows <= num_wanted:
        return pa.array(range(num_rows), pa.int64())
    if num_wanted == 1:
        return pa.array([num_rows // 2], pa.int64())
    return pa.array([round(i * (num_rows - 1) / (num_wanted - 1)) for i in range(num_wanted)], pa.int64())


def _in_turn(ranked: pa.Table, column: str, num_wanted: int, *, distinct: str | None = None) -> list[dict[str, Any]]:
    """Return up to `num_wanted` rows that cycle through the values of `column`.

    Rows with the same value keep their order. Only the first `8 * num_wanted` rows with each value are considered, and
    rows without a value are left out.

    If `distinct` names a column, only the first row with each value of that column is returned.
    """
    values = sorted(value for value in pc.unique(ranked[column]).to_pylist() if value is not None)
    heads = [
        iter(ranked.filter(pc.equal(ranked[column], value)).slice(0, num_wanted * 8).to_pylist()) for value in values
    ]
    rows: list[dict[str, Any]] = []
    seen = set()
    while heads and len(rows) < num_wanted:
        for head in list(heads):
            row = next((row for row in head if distinct is None or row[distinct] not in seen), None)
            if row is None:
                heads.remove(head)
                continue
            if distinct is not None:
                seen.add(row[distinct])
            rows.append(row)
    return rows[:num_wanted]


def _images(layout: StorageLayout, rows: Sequence[dict[str, Any]]) -> list[PictureFile]:
    """Return the image file of each row's frame. If the frame was deleted, the path does not exist."""
    key_by_id = {row["frame_id"]: split_frame_id(row["frame_id"])[0] for row in rows}
    images = images_of_frames(layout, key_by_id)
    return [
        images[frame_id].file if frame_id in images else layout.frame_picture(key_by_id[frame_id], "missing")
        for frame_id in (row["frame_id"] for row in rows)
    ]
