"""The interface of a format's module: a writer that takes images one at a time, and verifiers that read them back.

Belongs here: the types of writers and verifiers. Does not belong here: the list of formats (formats.py).
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data_miner_dagster.export.records import ReleaseHeader, ReleaseImage, ReleaseTally
from data_miner_dagster.protocols.pictures import PictureReader


class ReleaseWriter(Protocol):
    """A writer of one format. It receives images one at a time, in order of `image_id`. `close` completes its files."""

    def add(self, image: ReleaseImage) -> None:
        """Write one image and its boxes."""
        ...

    def close(self) -> None:
        """Finish and close every file. This is called once, even if an error occurred and the files are discarded."""
        ...


def at_once(_name: str, work: Callable[[], None]) -> None:
    """Run `work` immediately, so that an error in it fails the whole image."""
    work()


@dataclass(frozen=True, slots=True)
class Destination:
    """The folder that a format is written to, and the source of its images.

    Attributes:
        folder: the release or export that is being written.
        header: the header of the release.
        release: the folder with the images below `images/`; equal to `folder` while a release is written.
        pictures: decodes the images.
        attempt: called with (name, work) for each file by writers that write several files per image. It runs
            `work`, and either skips the file or raises the error if `work` fails.
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
        read_images: yields the images. Each call starts from the first image.
        missing_parts: the names, as passed to `Destination.attempt`, of the files that were not written.
        release: the folder of the exported release, which contains its tracks, or an empty path if no
            verifier reads tracks.
    """

    header: ReleaseHeader
    tally: ReleaseTally
    read_images: Callable[[], Iterator[ReleaseImage]]
    missing_parts: Collection[str] = ()
    release: Path = Path()


Verifier = Callable[[Path, Expected], Iterator[str]]
"""A function that yields one line for each problem in a folder. It may raise any error that its library raises
on a damaged file. The function's name is `<what it checks>_problems`."""


@dataclass(frozen=True, slots=True)
class Codec:
    """The code that writes and verifies a format.

    Attributes:
        open_writer: opens a writer for a destination.
        verifiers: read releases and exports back, and yield their problems.
        export_verifiers: read back exports only, and compare them with the release.
        complete_export: adds the files that are not written image by image, except the datasheet, which every export
            has.
        attempts_parts: True if the writer uses `Destination.attempt`, so that an image may be incomplete although `add`
            has returned.
    """

    open_writer: Callable[[Destination], ReleaseWriter]
    verifiers: tuple[Verifier, ...]
    export_verifiers: tuple[Verifier, ...] = ()
    complete_export: Callable[[Destination, ReleaseTally], None] | None = None
    attempts_parts: bool = False
