"""The Hugging Face layout: `images/<split>/metadata.parquet` beside the images (`imagefolder`).

Source: https://huggingface.co/docs/datasets/image_dataset#object-detection. `file_name` is relative to the table.
"""

from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa

from data_miner_dagster.export.parquet import RowWriter
from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage

METADATA_SCHEMA: Final = pa.schema(
    [
        pa.field("file_name", pa.string(), nullable=False),
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field(
            "objects",
            pa.struct(
                [
                    pa.field("bbox", pa.list_(pa.list_(pa.float64()))),  # x, y, width, height in pixels
                    pa.field("category", pa.list_(pa.int64())),  # class id, from 0
                    pa.field("category_name", pa.list_(pa.string())),
                    pa.field("confidence", pa.list_(pa.float64())),
                ]
            ),
            nullable=False,
        ),
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("video_key", pa.string(), nullable=False),
        pa.field("video_url", pa.string(), nullable=False),
        pa.field("pts_seconds", pa.float64(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
        pa.field("similar_prompt", pa.string(), nullable=False),
    ]
)


def metadata_file(folder: Path, split: str) -> Path:
    """Return the path of a split's metadata inside a release."""
    return folder / "images" / split / "metadata.parquet"


class ImageFolderWriter:
    """Writes one `metadata.parquet` per split that has images; a split without images gets none."""

    def __init__(self, folder: Path, header: ReleaseHeader) -> None:
        self._folder = folder
        self._writers: dict[str, RowWriter] = {}

    def add(self, image: ReleaseImage) -> None:
        """Write one image's row."""
        if image.split not in self._writers:
            path = metadata_file(self._folder, image.split)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[image.split] = RowWriter(path, METADATA_SCHEMA)
        self._writers[image.split].add(
            {
                "file_name": PurePosixPath(image.file_name).name,
                "image_id": image.image_id,
                "width": image.width,
                "height": image.height,
                "objects": objects_of(image),
                "frame_id": image.frame_id,
                "video_key": image.video_key,
                "video_url": image.video_url,
                "pts_seconds": image.pts_seconds,
                "similarity": image.similarity,
                "similar_prompt": image.similar_prompt,
            }
        )

    def close(self) -> None:
        """Finish every table."""
        for writer in self._writers.values():
            writer.close()


def objects_of(image: ReleaseImage) -> dict[str, list[object]]:
    """Return an image's boxes as the struct of lists that the object-detection examples of `datasets` use."""
    corners = [box.box_xyxy for box in image.boxes]
    return {
        "bbox": [[x, y, round(x_max - x, 3), round(y_max - y, 3)] for x, y, x_max, y_max in corners],
        "category": [box.class_index for box in image.boxes],
        "category_name": [box.class_name for box in image.boxes],
        "confidence": [box.confidence for box in image.boxes],
    }
