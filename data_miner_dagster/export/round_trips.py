"""Code shared by the formats of annotation tools: ids of boxes, tables of the sent boxes, and returned files.

People edit the labels in the tool's own file. The folder `shown/` beside it records the labels that were
sent, for comparison with the returned labels.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.domain.box_shares import BoxXyxy, pixels_of, shares_of
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.domain.verdicts import RelativeBox
from data_miner_dagster.export.codec import Codec, Destination, Expected, ReleaseWriter, Verifier
from data_miner_dagster.export.parquet import ParquetWriter, same_tables_problems
from data_miner_dagster.export.records import ReleaseBox, ReleaseHeader, ReleaseImage

REVIEWED: Final = "reviewed"
"""The tag that marks an image as examined by a person."""
MAX_RETURNED_BYTES: Final = 512 << 20
"""The maximum size of a returned file in bytes. JSON files are read into memory."""
RELATIVE_DECIMALS: Final = 8
"""The number of decimals in coordinates from 0 to 1. Even in the largest images, this is exact to a ten-thousandth of a
pixel."""
_SHOWN: Final = "shown"
_HEADER: Final = "header.json"


def shown_folder(folder: Path) -> Path:
    """Return the folder of the tables that record an export's contents."""
    return folder / _SHOWN


def has_shown(folder: Path) -> bool:
    """Return whether a folder is an export for an annotation tool."""
    return (shown_folder(folder) / _HEADER).is_file()


def write_shown_header(folder: Path, header: ReleaseHeader, revision: str | None = None) -> None:
    """Record the header of an export, and the revision of its detectors (None if unknown or not unique).

    Releases do not record the revision, so it is known only for frames that were sent from a review queue.
    """
    # the tables in `shown/` have the extra columns
    facts = {name: value for name, value in as_json(header).items() if name != "extra_columns"}
    content = json.dumps({"header": facts, "revision": revision}, ensure_ascii=False, indent=1) + "\n"
    (shown_folder(folder) / _HEADER).write_text(content, encoding="utf-8")


def read_shown(folder: Path) -> tuple[ReleaseHeader, str | None]:
    """Return the header of an export for an annotation tool, and the detectors' revision, or None if unknown.

    Raises:
        ConfigError: the header is missing, unreadable or damaged.
    """
    path = shown_folder(folder) / _HEADER
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return from_json(ReleaseHeader, content["header"]), content["revision"]
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or f"{type(error).__name__}: {str(error)[:80]}"
        raise ConfigError(
            f"{path} cannot be read ({why}); check its permissions, restore the exported folder from a backup, or "
            "repeat the export"
        ) from error


def box_ids(image: ReleaseImage) -> tuple[str, ...]:
    """Return an id for each box in an image, derived from its frame, class, position and confidence.

    Ids are unique, since `-2`, `-3` and so on are appended to the ids of equal boxes.
    """
    names, seen = [], Counter[str]()
    for box in image.boxes:
        parts = {
            "frame": image.frame_id,
            "class": box.class_name,
            "box": list(box.box_xyxy),
            "confidence": box.confidence,
        }
        name = fingerprint_of(parts)[:12]
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return tuple(names)


def relative_box(box: ReleaseBox, image: ReleaseImage) -> RelativeBox:
    """Clip a box to its image, and return it as shares of the image's width and height.

    Raises:
        ValueError: the box lies outside the image.
    """
    shares = shares_of(box.box_xyxy, (image.width, image.height))
    if shares is None:
        raise ValueError(f"the box {box.box_xyxy} lies outside the image {image.file_name}")
    return shares


def box_in_pixels(box: RelativeBox, image: ReleaseImage) -> BoxXyxy:
    """Convert a box from shares of an image's width and height to pixels."""
    return pixels_of(box, (image.width, image.height))


def check_labels(header: ReleaseHeader, tool: str, why_not: Callable[[str], str | None]) -> None:
    """Check that an annotation tool or format accepts every class name.

    Args:
        header: the header of the release.
        tool: the name of the tool or format, for the message.
        why_not: returns the reason why the tool does not accept a name, or None if it does. It is not called for names
            with control characters, which no tool accepts.

    Raises:
        ConfigError: the tool does not accept a class name.
    """
    for name in header.class_names:
        why = "it has control characters" if any(ord(letter) < 32 for letter in name) else why_not(name)
        if why is not None:
            raise ConfigError(
                f"{tool} does not accept the class name {name[:80]!r} ({why}); rename it in detection.classes, and "
                "build the project again"
            )


class _WithShown:
    """Writes images and boxes to the tool's files, and also to the tables in `shown/`."""

    def __init__(self, open_writer: Callable[[Destination], ReleaseWriter], to: Destination) -> None:
        shown_folder(to.folder).mkdir()
        write_shown_header(to.folder, to.header)
        self._tables = ParquetWriter(shown_folder(to.folder), to.header.extra_columns)
        self._writer = open_writer(to)

    def add(self, image: ReleaseImage) -> None:
        self._writer.add(image)
        self._tables.add(image)

    def close(self) -> None:
        with contextlib.closing(self._tables):
            self._writer.close()


def round_trip_codec(open_writer: Callable[[Destination], ReleaseWriter], problems: Verifier) -> Codec:
    """Return a codec for an annotation tool's format. It covers the tool's file and the tables in `shown/`."""
    return Codec(lambda to: _WithShown(open_writer, to), (problems, shown_problems))


def shown_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the tables that record an export's contents."""
    header, _ = read_shown(folder)
    if header != expected.header:
        yield f"{_SHOWN}: {_HEADER} does not match {expected.header.title}"
    yield from (f"{_SHOWN}: {line}" for line in same_tables_problems(shown_folder(folder), expected))


def read_returned_json(path: Path, tool: str) -> Any:
    """Return the content of a returned JSON file.

    Raises:
        ConfigError: the file is missing, unreadable, too large, or not JSON.
    """
    try:
        check_returned_size(path.stat().st_size, path)
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({str(error)[:80]}); export it from {tool} again") from error


def check_returned_size(size_bytes: int, path: Path) -> None:
    """Check that a returned file is not too large to read.

    Raises:
        ConfigError: the file is too large.
    """
    if size_bytes > MAX_RETURNED_BYTES:
        raise ConfigError(
            f"{path} contains more than {size_text(MAX_RETURNED_BYTES)}, the most that can be read; export it in parts"
        )
