"""Peak memory of each export format over made-up images: written, and read back.

    python -m benchmarks.exports                              # 10,000 and 100,000 images, in every format
    python -m benchmarks.exports --format lance --images 1000

Every image is one small picture with two boxes of two objects, in videos of 500 images. Each run is a process of its
own; what it takes before the first image (the interpreter and the format's packages) is in the figure.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.export.codec import Destination, Expected
from data_miner_dagster.export.formats import EXPORT_FORMATS
from data_miner_dagster.export.records import ReleaseImage, ReleaseTally
from data_miner_dagster.export.verification import export_problems
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster_tests.support.releases import JUDGED_HEADER, jpeg_of, release_image

IMAGES_A_VIDEO: Final = 500
MOST_LINKS: Final = 50_000


def made_up_images(number: int) -> Iterator[ReleaseImage]:
    """Yield images with two objects each, of which the picture is always the same."""
    content = release_image(1, "train", "files-a", 0, (0, (4.0, 6.0, 40.0, 30.0)), (1, (10.5, 8.25, 30.0, 47.0)))
    splits = JUDGED_HEADER.splits
    for index in range(number):
        video, frame = divmod(index, IMAGES_A_VIDEO)
        key, split = f"files-{video:06d}", splits[0] if video % 10 < 8 else splits[1 + video % 2]
        boxes = tuple(replace(box, track_id=1 + place, recovered=False) for place, box in enumerate(content.boxes))
        yield replace(
            content,
            image_id=index + 1,
            file_name=f"{split}/{key}_{frame:06d}.jpg",
            split=split,
            frame_id=f"{key}/{frame:06d}",
            video_key=key,
            frame_index=frame,
            pts_seconds=frame / 2,
            boxes=boxes,
        )


def place_pictures(release: Path, number: int) -> None:
    """Put the picture of every image in its place, as second names of a few files."""
    source = release / "picture.jpg"
    for split in JUDGED_HEADER.splits:
        (release / "images" / split).mkdir(parents=True)
    for index, image in enumerate(made_up_images(number)):
        if index % MOST_LINKS == 0:
            source.unlink(missing_ok=True)
            source.write_bytes(jpeg_of(1))
        os.link(source, release / image.path_in_release)


def export(name: str, number: int, folder: Path) -> int:
    """Write and read back one format; return the peak memory of this process in MB."""
    format, release, to = EXPORT_FORMATS[name], folder / "release", folder / name
    to.mkdir()
    tally = ReleaseTally.of(JUDGED_HEADER)
    with (
        StoredPictures(ExtractionConfig()) as pictures,
        closing(format.codec.open_writer(Destination(to, JUDGED_HEADER, release, pictures))) as writer,
    ):
        for image in made_up_images(number):
            writer.add(image)
            tally.add(image)
    expected = Expected(JUDGED_HEADER, tally, lambda: made_up_images(number), release=release)
    verifying = replace(format, has_images_beside=False)  # the copies are made and read by what calls the format
    if problems := export_problems(verifying, to, expected):
        raise AssertionError(problems[:3])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def peaks(name: str, numbers: list[int]) -> dict[str, int]:
    """Return the peak memory in MB by the number of images."""
    found: dict[str, int] = {}
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            place_pictures(Path(folder, "release"), number)
            command = [
                sys.executable,
                "-m",
                "benchmarks.exports",
                "--of",
                name,
                "--images",
                str(number),
                "--in",
                folder,
            ]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[f"{number:,} images"] = int(output)
    return found


def main() -> None:
    """Print one line a format, or the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", choices=EXPORT_FORMATS, action="append")
    parser.add_argument("--images", type=int, action="append")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--of", choices=EXPORT_FORMATS, help=argparse.SUPPRESS)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of:
        print(export(given.of, given.images[0], given.folder))
        return
    figures = {}
    for name in given.format or EXPORT_FORMATS:
        figures[name] = peaks(name, given.images or [10_000, 100_000])
        if not given.json:
            print(
                f"{name}: {', '.join(f'{peak:,} MB for {number}' for number, peak in figures[name].items())}",
                flush=True,
            )
    if given.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
