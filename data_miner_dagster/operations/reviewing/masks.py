"""Read a frame's masks for a review page, in the form that the page draws."""

from dataclasses import dataclass

from data_miner_dagster.domain.box_shares import shares_of
from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.verdicts import RelativeBox
from data_miner_dagster.export.outlines import svg_path
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.by_video import rows_of_frames
from data_miner_dagster.storage.tables import has_values


@dataclass(frozen=True, slots=True)
class ShownMask:
    """A mask, and the detected box that it belongs to. A page draws no mask for a box that a person moved."""

    class_name: str
    box: RelativeBox
    path: str  # data of an SVG path, in pixels of the frame


def has_masks(platform: Platform, project: str) -> bool:
    """Return whether any detected box of a project has a mask."""
    table = platform.layout.detections_table(project)
    return table.is_file() and has_values(table, "mask")


def masks_of_frame(platform: Platform, project: str, frame_id: str) -> tuple[ShownMask, ...]:
    """Return the masks of the boxes detected on a frame, most confident box first.

    Raises:
        DamagedFileError: the table of detections cannot be read.
    """
    if not has_masks(platform, project):
        return ()
    columns = ["class_name", "x_min", "y_min", "x_max", "y_max", "mask"]
    rows = rows_of_frames(platform.layout.detections_table(project), [frame_id], columns).to_pylist()
    found = []
    for row in rows:
        if row["mask"] is not None:
            mask = Mask.from_coco(row["mask"])
            box = shares_of((row["x_min"], row["y_min"], row["x_max"], row["y_max"]), mask.resolution_wh)
            if box is not None:
                found.append(ShownMask(row["class_name"], box, svg_path(mask)))
    return tuple(found)
