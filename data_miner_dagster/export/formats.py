"""Register the formats that a release contains or that can be exported.

Releases, exports, the help of `data-miner export`, messages, the table in docs/releases.md and the kinds of the asset
`dataset` are all based on these entries. Belongs here: descriptions of formats. Does not belong here: the code of the
formats, which is imported only when needed, so that `--help` is fast.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from data_miner_dagster.domain.errors import ConfigError

if TYPE_CHECKING:
    from data_miner_dagster.export.codec import Codec

WHOLE: Final = "all"
"""The choice that exports a release unchanged, with every format in it. It is not a format itself."""
WHOLE_HELP: Final = "the release as it is"
MAX_KINDS: Final = 3
"""Dagster shows at most this many kinds on an asset."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format that is part of every release, exported on demand, or both.

    Attributes:
        name: the name that users write.
        help: its description, as a phrase.
        code: `module:name` of its `Codec`, below export/.
        in_releases: whether it is written into every release. Changing it changes releases, so raise
            `RELEASING_VERSION`.
        in_exports: whether `data-miner export` offers it.
        has_images_beside: whether it refers to files below `images/`, so that an export contains the images too.
        comes_back: whether it belongs to an annotation tool whose corrected labels `data-miner review import` reads.
        needs: the import name of the package that the extra named after the format installs, or None if
            the format needs no extra.
    """

    name: str
    help: str
    code: str
    in_releases: bool = False
    in_exports: bool = True
    has_images_beside: bool = False
    comes_back: bool = False
    needs: str | None = None

    @property
    def codec(self) -> "Codec":
        """The format's writer and verifiers. Accessing this property imports their module."""
        module, _, name = self.code.partition(":")
        return cast("Codec", getattr(importlib.import_module(f"{__package__}.{module}"), name))

    def check_installed(self) -> None:
        """Check that the format can be written in this environment.

        Raises:
            ConfigError: the format's extra is not installed.
        """
        if self.needs is not None and importlib.util.find_spec(self.needs) is None:
            raise ConfigError(
                f"format {self.name!r} needs a package that is not installed; "
                f"run `pip install 'data-miner-dagster[{self.name}]'` to install it"
            )


TABLES: Final = Format(
    "parquet", "flat tables of images, boxes and videos", "parquet:CODEC", in_releases=True, has_images_beside=True
)
"""The lossless format. Every other format can be written from it, and is compared with it."""
FORMATS: Final = (
    Format("coco", "COCO JSON, a file per split", "coco:CODEC", in_releases=True, has_images_beside=True),
    Format("yolo", "labels and `data.yaml` for Ultralytics", "yolo:CODEC", in_releases=True, has_images_beside=True),
    TABLES,
    Format(
        "imagefolder",
        "`metadata.parquet` beside the images, for Hugging Face's `imagefolder`",
        "huggingface:IMAGE_FOLDER",
        in_releases=True,
        in_exports=False,
        has_images_beside=True,
    ),
    Format(
        "huggingface",
        "Parquet shards with the images inside and a dataset card, for the Hugging Face Hub",
        "huggingface:EMBEDDED",
    ),
    Format("webdataset", "WebDataset: tar shards of images and their labels", "webdataset:CODEC", needs="webdataset"),
    Format("lance", "Lance: a table per split with the images inside", "lance:CODEC", needs="lance"),
    Format("voc", "Pascal VOC: an XML file per image, the images, and lists of the splits", "voc:CODEC"),
    Format(
        "label-studio",
        "Label Studio: tasks with predictions, and the labelling interface",
        "label_studio:CODEC",
        has_images_beside=True,
        comes_back=True,
    ),
    Format(
        "cvat", "CVAT for images 1.1, and the labels of the task", "cvat:CODEC", has_images_beside=True, comes_back=True
    ),
    Format(
        "fiftyone", "FiftyOneDataset, as FiftyOne imports it", "fiftyone:CODEC", has_images_beside=True, comes_back=True
    ),
    Format("mot", "MOT Challenge: a sequence of numbered objects for each video, and its pictures", "mot:CODEC"),
    Format(
        "youtube-vis", "YouTube-VIS: JSON of each object's outline over time, and the pictures", "youtube_vis:CODEC"
    ),
    Format("crops", "a picture per box, in folders by split and class", "crops:CODEC"),
)
RELEASE_FORMATS: Final = tuple(format for format in FORMATS if format.in_releases)
EXPORT_FORMATS: Final = {format.name: format for format in FORMATS if format.in_exports}
ROUND_TRIP_FORMATS: Final = tuple(format.name for format in FORMATS if format.comes_back)
EXPORT_NAMES: Final = (WHOLE, *EXPORT_FORMATS)
"""The accepted values of `data-miner export --format`."""


def asset_kinds() -> set[str]:
    """Return the kinds that Dagster shows on `dataset`: the first release formats that can also be exported."""
    return {format.name for format in [format for format in RELEASE_FORMATS if format.in_exports][:MAX_KINDS]}


def export_help() -> str:
    """Return the help text of `--format` as a single line."""
    names = {WHOLE: WHOLE_HELP} | {name: format.help for name, format in EXPORT_FORMATS.items()}
    return "; ".join(f"{name}: {help}" for name, help in names.items()) + "."


def formats_table() -> str:
    """Return the Markdown table of formats for docs/releases.md."""
    lines = ["| format | content | in every release | `data-miner export` |", "|---|---|---|---|"]
    for format in FORMATS:
        exported = "yes, with `images/`" if format.has_images_beside else "yes"
        cells = (
            f"`{format.name}`",
            format.help,
            "yes" if format.in_releases else "no",
            exported if format.in_exports else "no",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
