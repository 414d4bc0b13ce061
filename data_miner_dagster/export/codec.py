"""What the module of a format provides: a writer of images, one at a time, and verifiers that read back what it wrote.

Belongs here: the shape of both. Does not belong here: which formats there are (formats.py).
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage, ReleaseTally
from data_miner_dagster.protocols.pictures import PictureReader


class ReleaseWriter(Protocol):
    """One format. Given images one at a time in order of `image_id`; files are complete after `close`."""

    def add(self, image: ReleaseImage) -> None:
        """Write one image's part."""
        ...

    def close(self) -> None:
        """Finish and close every file. Called once, also after an error, when what was written is thrown away."""
        ...


def at_once(_name: str, work: Callable[[], None]) -> None:
    """Do the work of a part; its failure is that of its image."""
    work()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a format is written, and where its images come from.

    Attributes:
        folder: a release or an export in the making.
        header: of the release.
        release: holds the images below `images/`; the same folder while a release is made.
        pictures: decodes them.
        attempt: given (name, work) of each file, where a writer makes several of an image, it does the work, or goes
            on without it.
    """

    folder: Path
    header: ReleaseHeader
    release: Path
    pictures: PictureReader
    attempt: Callable[[str, Callable[[], None]], object] = at_once


@dataclass(frozen=True, slots=True)
class Expected:
    """What a folder must hold. `read_images` begins anew with every call; `missing_parts` were attempted in vain."""

    header: ReleaseHeader
    tally: ReleaseTally
    read_images: Callable[[], Iterator[ReleaseImage]]
    missing_parts: Collection[str] = ()


Verifier = Callable[[Path, Expected], Iterator[str]]
"""Yields one line for everything that is wrong with a folder. It may raise what its library raises of a damaged file.
Its name is `<what it looks at>_problems`."""


@dataclass(frozen=True, slots=True)
class Codec:
    """The code of a format.

    Attributes:
        open_writer: begins to write.
        verifiers: read back what was written, in releases and exports.
        export_verifiers: read back exports alone: they compare with the release.
        complete_export: adds to an export what is not written image by image. The datasheet is in every export anyway.
        attempts_parts: the writer uses `Destination.attempt`: that it returned proves nothing of an image.
    """

    open_writer: Callable[[Destination], ReleaseWriter]
    verifiers: tuple[Verifier, ...]
    export_verifiers: tuple[Verifier, ...] = ()
    complete_export: Callable[[Destination, ReleaseTally], None] | None = None
    attempts_parts: bool = False
