"""The interface of a format's module: a writer that takes images one at a time, and verifiers that read them back.

Belongs here: the types of both. Does not belong here: the list of formats (formats.py).
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage, ReleaseTally
from data_miner_dagster.protocols.pictures import PictureReader


class ReleaseWriter(Protocol):
    """Writes one format. Takes images one at a time in order of `image_id`; files are complete after `close`."""

    def add(self, image: ReleaseImage) -> None:
        """Write one image and its boxes."""
        ...

    def close(self) -> None:
        """Finish and close every file. Called once, even after an error, when the written files are discarded."""
        ...


def at_once(_name: str, work: Callable[[], None]) -> None:
    """Process one file immediately. If it fails, its image fails."""
    work()


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a format is written, and where its images come from.

    Attributes:
        folder: the release or export that is being written.
        header: the header of the release.
        release: the folder with the images below `images/`; equal to `folder` while a release is written.
        pictures: decodes the images.
        attempt: called with (name, work) for each file by writers that make several files per image. It does the work,
            or skips the file if the work fails.
    """

    folder: Path
    header: ReleaseHeader
    release: Path
    pictures: PictureReader
    attempt: Callable[[str, Callable[[], None]], object] = at_once


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected content of a folder.

    Attributes:
        header: the header of the release.
        tally: the counts of the folder's contents.
        read_images: yields the images; starts over at every call.
        missing_parts: the parts that were not written.
        release: the folder of the release that was exported, with its tracks; equal to the folder of a release.
    """

    header: ReleaseHeader
    tally: ReleaseTally
    read_images: Callable[[], Iterator[ReleaseImage]]
    missing_parts: Collection[str] = ()
    release: Path = Path()


Verifier = Callable[[Path, Expected], Iterator[str]]
"""Yields one line for each problem of a folder. It may raise any error that its library raises on a damaged file. The
function's name is `<what it checks>_problems`."""


@dataclass(frozen=True, slots=True)
class Codec:
    """The code of a format.

    Attributes:
        open_writer: opens a writer for a destination.
        verifiers: read back what was written, in releases and exports.
        export_verifiers: read back exports only, by comparing them with the release.
        complete_export: adds what is not written image by image. The datasheet is added to every export anyway.
        attempts_parts: the writer uses `Destination.attempt`, so its return does not prove that an image was written.
    """

    open_writer: Callable[[Destination], ReleaseWriter]
    verifiers: tuple[Verifier, ...]
    export_verifiers: tuple[Verifier, ...] = ()
    complete_export: Callable[[Destination, ReleaseTally], None] | None = None
    attempts_parts: bool = False
