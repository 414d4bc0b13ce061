"""Read releases and exports back before they are published.

Belongs here: choosing the verifiers, and interpreting their exceptions. Does not belong here: a format's verifier,
which is next to its writer, or the checksums of a published release (manifest.py).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import yaml
from PIL import Image

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.keys import has_foreign_pictures
from data_miner_dagster.export.codec import Expected, Verifier
from data_miner_dagster.export.comparing import file_number_problems
from data_miner_dagster.export.formats import RELEASE_FORMATS, TABLES, Format
from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.export.records import IMAGES_FOLDER, ReleaseHeader, ReleaseTally


def release_problems(folder: Path, header: ReleaseHeader, expected: ReleaseTally) -> list[str]:
    """Return the problems with a release that was just written. Only a bug or a faulty disk can cause a problem.

    The images and the other formats are compared with the tables, so they are checked only if the tables have no
    problems.

    Raises:
        OSError: a file exists, but the operating system cannot read it.
    """
    whole = Expected(header, expected, partial(read_images, folder))
    others = [verify for format in RELEASE_FORMATS if format != TABLES for verify in format.codec.verifiers]
    return _problems(TABLES.codec.verifiers, folder, whole) or _problems((picture_problems, *others), folder, whole)


def export_problems(format: Format, folder: Path, expected: Expected) -> list[str]:
    """Return the problems with an export that was just written in one format.

    Raises:
        OSError: a file exists, but the operating system cannot read it.
    """
    pictures = (picture_problems,) if format.has_images_beside else ()
    return _problems((*format.codec.verifiers, *format.codec.export_verifiers, *pictures), folder, expected)


def _problems(verifiers: Sequence[Verifier], folder: Path, expected: Expected) -> list[str]:
    problems: list[str] = []
    for verify in verifiers:
        try:
            for problem in verify(folder, expected):
                problems.append(problem)  # appended one by one, so that an exception loses no earlier problem
        except OSError as error:
            if error.errno is not None and not isinstance(error, FileNotFoundError | NotADirectoryError):
                raise  # the disk is at fault, not the file
            problems.append(_unreadable(verify, folder, error))
        except (
            ArithmeticError,
            AssertionError,
            AttributeError,
            DataMinerError,
            LookupError,
            SyntaxError,  # Pillow raises it for a broken PNG
            TypeError,
            ValueError,
            yaml.YAMLError,
        ) as error:
            problems.append(_unreadable(verify, folder, error))
    return problems


def _unreadable(verify: Verifier, folder: Path, error: Exception) -> str:
    check = verify.__name__.removesuffix("_problems").replace("_", " ")
    what = str(error).replace(f"{folder}/", "").strip() or "no message"
    return f"{check}: the files cannot be read ({type(error).__name__}: {what.splitlines()[0][:200]})"


def picture_problems(folder: Path, expected: Expected) -> Iterator[str]:
    """Yield the problems with the files below `images/`: missing files, wrong sizes, or a wrong number of files."""
    for image in expected.read_images():
        path = folder / image.path_in_release
        if not path.is_file():
            yield f"there is no image {image.file_name}"
            continue
        size_bytes = path.stat().st_size
        if size_bytes != image.size_bytes:
            yield f"{image.file_name}: the file has {size_bytes:,} bytes, expected {image.size_bytes:,}"
            continue
        if has_foreign_pictures(image.video_key):
            continue  # never parsed here: a worker measured these bytes, and their sha256 was checked on placement
        with Image.open(path) as opened:  # the header only
            if opened.size != (image.width, image.height):
                yield f"{image.file_name}: the image has {opened.size} pixels, expected {(image.width, image.height)}"
    yield from file_number_problems(folder / IMAGES_FOLDER, expected.tally.num_images, without=".parquet")
