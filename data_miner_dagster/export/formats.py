"""The registry of formats: what a release holds, and what can be exported.

Writing, reading back, `data-miner export --help`, messages, the table in docs/releases.md and the kinds of the asset
`dataset` follow from the entries. Belongs here: what is said of a format. Does not belong here: its code, which is
imported when it is used, so that `--help` is quick.
"""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from data_miner_dagster.export.codec import Codec

WHOLE: Final = "all"
"""Exports a release as it stands: no format, but every format that is in it."""
WHOLE_HELP: Final = "the release as it stands"
MAX_KINDS: Final = 3
"""Dagster shows no more on an asset."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format: in every release, exported on demand, or both.

    Attributes:
        name: what the user calls it.
        help: what it is, as a phrase.
        code: `module:name` of its `Codec`, below export/.
        in_releases: written into every release. Adding one changes what releases are: raise `RELEASING_VERSION`.
        in_exports: offered by `data-miner export`.
        has_images_beside: it names files below `images/`, which an export therefore holds, too.
    """

    name: str
    help: str
    code: str
    in_releases: bool = False
    in_exports: bool = True
    has_images_beside: bool = False

    @property
    def codec(self) -> "Codec":
        """Its writer and verifiers; imports them."""
        module, _, name = self.code.partition(":")
        return cast("Codec", getattr(importlib.import_module(f"{__package__}.{module}"), name))


TABLES: Final = Format(
    "parquet", "flat tables of images, boxes and videos", "parquet:CODEC", in_releases=True, has_images_beside=True
)
"""The lossless form: everything else can be made from it, and is compared with it."""
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
    Format("voc", "Pascal VOC: an XML file per image, the images, and lists of the splits", "voc:CODEC"),
    Format("crops", "a JPEG per box, in folders by split and class", "crops:CODEC"),
)
RELEASE_FORMATS: Final = tuple(format for format in FORMATS if format.in_releases)
EXPORT_FORMATS: Final = {format.name: format for format in FORMATS if format.in_exports}
EXPORT_NAMES: Final = (WHOLE, *EXPORT_FORMATS)
"""What `data-miner export --format` takes."""


def asset_kinds() -> set[str]:
    """Return what Dagster shows on `dataset`: the first formats of a release that can also be had by themselves."""
    return {format.name for format in [format for format in RELEASE_FORMATS if format.in_exports][:MAX_KINDS]}


def export_help() -> str:
    """Return what `--format` takes, in one line."""
    names = {WHOLE: WHOLE_HELP} | {name: format.help for name, format in EXPORT_FORMATS.items()}
    return "; ".join(f"{name}: {help}" for name, help in names.items()) + "."


def formats_table() -> str:
    """Return the formats as the table of docs/releases.md."""
    lines = ["| format | what | in every release | `data-miner export` |", "|---|---|---|---|"]
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
