"""Read CVAT's XML as a stream of plain records. Document types are refused, which rules out entities.

Belongs here: the contents of the file. Does not belong here: their interpretation (cvat.py).
"""

import math
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final
from xml.parsers import expat

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.export.round_trips import check_returned_size

_CHUNK_BYTES: Final = 1 << 20
_MEMBER: Final = "annotations.xml"
_SHAPES: Final = frozenset({"polygon", "polyline", "points", "cuboid", "ellipse", "mask", "skeleton"})


@dataclass(slots=True)
class XmlBox:
    """A `box` element: its label, corners in pixels and attributes by name, and whether it is rotated."""

    label: str
    corners: tuple[float, float, float, float]
    is_turned: bool
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class XmlImage:
    """An `image` element with its boxes, its tags and the kinds of its other shapes."""

    number: int
    name: str
    width: int
    height: int
    boxes: list[XmlBox] = field(default_factory=list)
    tags: set[str] = field(default_factory=set)
    other_shapes: list[str] = field(default_factory=list)


class CvatXml:
    """A CVAT XML file. The values in its header are known once the first image has been read.

    Args:
        path: the file, or CVAT's archive that contains it.
        is_returned: whether the file comes from outside. If so, its size is limited.
    """

    def __init__(self, path: Path, *, is_returned: bool = True) -> None:
        self._path = path
        self._is_returned = is_returned
        self.owner: str | None = None
        self.assignee: str | None = None
        self.updated: str | None = None

    def images(self) -> Iterator[XmlImage]:
        """Yield the images in the file, and store the header's values as attributes of this object.

        Raises:
            ConfigError: the file is missing, unreadable, too large, damaged, or not in this format.
        """
        try:
            with self._opened() as file:
                yield from self._read(file)
        except OSError as error:
            why = error.strerror or str(error)[:80]
            raise ConfigError(f"{self._path} cannot be read ({why}); check the path and its permissions") from error
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, expat.ExpatError) as error:
            raise self._error(str(error)[:80]) from error
        except (LookupError, ValueError, ArithmeticError) as error:
            kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
            raise self._error(f"{kind}{str(error)[:160]}") from error

    def _read(self, file: IO[bytes]) -> Iterator[XmlImage]:
        parser, handlers = expat.ParserCreate(), _Handlers(self)
        parser.buffer_text = True
        parser.StartElementHandler = handlers.start
        parser.EndElementHandler = handlers.end
        parser.CharacterDataHandler = handlers.text
        parser.StartDoctypeDeclHandler = handlers.doctype
        num_bytes = 0
        while chunk := file.read(_CHUNK_BYTES):
            num_bytes += len(chunk)
            self._check_size(num_bytes)  # an archive may understate its size
            parser.Parse(chunk, False)
            while handlers.finished:
                yield handlers.finished.popleft()
        parser.Parse(b"", True)
        yield from handlers.finished
        if not handlers.is_cvat:
            raise ValueError("it has no <annotations>")

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """Open the XML file, or the one inside CVAT's archive, for the duration of the block."""
        if not zipfile.is_zipfile(self._path):
            self._check_size(self._path.stat().st_size)
            with self._path.open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(self._path) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == _MEMBER]
            if len(names) != 1:
                raise ValueError(f"the archive has {counted(len(names), 'file')} named {_MEMBER}")
            with archive.open(names[0]) as file:
                yield file

    def _check_size(self, size_bytes: int) -> None:
        if self._is_returned:
            check_returned_size(size_bytes, self._path)

    def _error(self, why: str) -> ConfigError:
        return ConfigError(
            f"{self._path} cannot be read as CVAT for images 1.1 ({why}); export it from CVAT again in this format"
        )


class _Handlers:
    """Builds images from the parser's events."""

    def __init__(self, xml: CvatXml) -> None:
        self._xml = xml
        self._path: list[str] = []
        self._image: XmlImage | None = None
        self._attribute = ""
        self._text: list[str] = []
        self.finished: deque[XmlImage] = deque()
        self.is_cvat = False

    def doctype(self, *_: object) -> None:
        raise ValueError("it declares a document type")

    def start(self, tag: str, values: Mapping[str, str]) -> None:
        if not self._path:
            self.is_cvat = tag == "annotations"
        self._path.append(tag)
        self._text = []
        if tag == "track":
            raise ValueError("it has tracks, as in the formats for video")
        if tag == "image":
            width, height = int(values["width"]), int(values["height"])
            if min(width, height) < 1:
                raise ValueError(f"image {values['name']} has {width} by {height} pixels")
            self._image = XmlImage(int(values["id"]), values["name"], width, height)
        elif self._image is not None:
            self._start_in_image(self._image, tag, values)

    def _start_in_image(self, image: XmlImage, tag: str, values: Mapping[str, str]) -> None:
        if tag == "box":
            x_min, y_min, x_max, y_max = (float(values[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
            if not all(map(math.isfinite, (x_min, y_min, x_max, y_max))):
                raise ValueError(f"image {image.name} has a box with a corner that is not finite")
            is_turned = float(values.get("rotation", 0)) != 0
            image.boxes.append(XmlBox(values["label"], (x_min, y_min, x_max, y_max), is_turned))
        elif tag == "tag":
            image.tags.add(values["label"])
        elif tag == "attribute":
            self._attribute = values["name"]
        elif tag in _SHAPES:
            image.other_shapes.append(tag)

    def text(self, text: str) -> None:
        self._text.append(text)

    def end(self, tag: str) -> None:
        text = "".join(self._text).strip()
        if tag == "image" and self._image is not None:
            self.finished.append(self._image)
            self._image = None
        elif self._image is not None and self._path[-2:] == ["box", "attribute"]:
            self._image.boxes[-1].attributes[self._attribute] = text
        elif self._path[1:2] == ["meta"] and text:
            self._head(text)
        self._path.pop()

    def _head(self, text: str) -> None:
        """Store the time of the last update, the owner or the assignee. Other values in the header are ignored."""
        match self._path[3:]:
            case ["updated"]:
                self._xml.updated = text
            case ["owner", "username"]:
                self._xml.owner = text
            case ["assignee", "username"]:
                self._xml.assignee = text
