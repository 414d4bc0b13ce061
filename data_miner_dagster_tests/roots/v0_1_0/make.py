"""The script that made the root beside this file, with the code of version 0.1.0.

Only version 0.1.0 can make a root of version 0.1.0, so the script is kept for reference. README.md says how it was run
and what the root contains. A later version gets its own folder and script.
"""

import csv
import io
import lzma
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import skimage.data
from PIL import Image

HOME = Path("/tmp/data-miner-root")
WIDTH, HEIGHT, RATE = 160, 120, 4

ANIMALS = """\
# Everything that a project file of version 0.1.0 could set for local sources.
name: animals
description: A cat and a person, from clips of a few seconds.

sourcing:
  sources:
    - type: files
      paths: [media/clips]
    - type: frames
      folders: [media/stills]
  rules:
    max_duration_seconds: 600
    reject_live: true
    blocked_words: [trailer]
  max_videos: 10

filtering:
  positive:
    - a cat
    - text: a person
      threshold: 0.0
  negative:
    - text: a brick wall
      threshold: 0.9
  junk: [a slide with text]
  templates: ["{}", "a photo of {}"]
  positive_threshold: -1.0
  junk_threshold: 0.95
  drop_quality_flags: [black, flat]
  max_frames_per_video: 4
  cap_by: spread

deduplication:
  threshold:
    lite-efficientnet: 0.9
  perceptual_hash_distance: 2
  reupload_share: 0.9

detection:
  classes:
    person: []
    cat: [cat, kitten]
    cup: []
  confidence_floor: 0.02

releasing:
  confidence_threshold: 0.05
  class_thresholds:
    cup: 0.1
    person: 0.02
  splits: {train: 0.6, val: 0.4}

refresh:
  min_new_videos: 2

platform:
  downloading:
    allowed_private_hosts: [127.0.0.1]
    politeness:
      min_sleep_seconds: 0
  extraction:
    strategy: time
    every_seconds: 1.0
    jpeg_quality: 80
  embedding:
    batch_size: 8
  models:
    profile: lite
"""

SERVED = """\
name: served
description: Stars, from an address, beside one that is gone; and a cup that the other project has, too.
sourcing:
  sources:
    - type: urls
      urls:
        - http://127.0.0.1:18765/web/stars.mp4
        - http://127.0.0.1:18765/web/gone.mp4
    - type: files
      paths: [media/clips/cup.mp4, media/asked_away]
filtering:
  positive: [stars in the sky, a cup of coffee]
  positive_threshold: -1.0
deduplication:
  against_projects: [animals]
detection:
  classes: {cat: [], cup: []}
releasing:
  confidence_threshold: 0.05
platform:
  downloading:
    allowed_private_hosts: [127.0.0.1]
    politeness:
      min_sleep_seconds: 0
  extraction:
    strategy: time
    every_seconds: 1.0
    jpeg_quality: 80
  embedding:
    batch_size: 8
  models:
    profile: lite
"""


def pans(picture: np.ndarray, num_frames: int) -> Iterator[np.ndarray]:
    """Yield windows of WIDTH by HEIGHT that pan across a picture and zoom out."""
    height, width = picture.shape[:2]
    for number in range(num_frames):
        share = 0.6 + 0.4 * number / max(1, num_frames - 1)
        wide, high = int(width * share), int(min(height, width * share * HEIGHT / WIDTH))
        left, top = (width - wide) * number // num_frames, (height - high) // 2
        window = Image.fromarray(picture[top : top + high, left : left + wide])
        yield np.asarray(window.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def write_clip(path: Path, pictures: Iterator[np.ndarray]) -> None:
    """Write an H.264 clip."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "26", "g": "4", "threads": "1"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_media(*, is_first: bool) -> None:
    """Write the media that the projects list. The cup is added after the first release."""
    clips, stills = HOME / "media/clips", HOME / "media/stills"
    if not is_first:
        write_clip(clips / "cup.mp4", pans(skimage.data.coffee(), 3 * RATE))
        write_clip(HOME / "media/web/stars.mp4", pans(skimage.data.hubble_deep_field(), 2 * RATE))
        write_clip(HOME / "media/asked_away/rocket.mp4", pans(skimage.data.rocket(), RATE))
        return
    write_clip(clips / "cat.mp4", pans(skimage.data.chelsea(), 4 * RATE))
    write_clip(clips / "person.mp4", pans(skimage.data.astronaut(), 3 * RATE))
    (clips / "broken.mp4").write_bytes(b"this is no video\n" * 8)
    stills.mkdir(parents=True)
    for number, picture in enumerate(pans(skimage.data.rocket(), 3)):
        Image.fromarray(picture).save(stills / f"{number:03d}.jpg", quality=80)


def data_miner(*arguments: str) -> None:
    """Run a command with the code of 0.1.0."""
    command = [sys.executable, "-m", "data_miner_dagster", *arguments, "--root", "mined"]
    subprocess.run(command, cwd=HOME, check=True)


def key_of(name: str) -> str:
    """Return the key of the only video whose address ends with `name`."""
    with sqlite3.connect(HOME / "mined/catalog.sqlite") as connection:
        ((key,),) = connection.execute("SELECT key FROM videos WHERE url LIKE ?", [f"%{name}"])
    return str(key)


def answer_questions(questions: Path, answers: Path) -> None:
    """Answer like a person who wants neither the rocket nor the last frame of any video."""
    with questions.open(newline="") as file:
        frame_ids = sorted(row["frame_id"] for row in csv.DictReader(file))
    lasts = set({frame_id.rpartition("/")[0]: frame_id for frame_id in frame_ids}.values())
    with answers.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame_id", "answer"])
        for frame_id in frame_ids:
            is_good = frame_id not in lasts and not frame_id.startswith("frames-")
            writer.writerow([frame_id, "keep" if is_good else "drop"])


def close_databases() -> None:
    """Write SQLite's write-ahead logs into the database files. A process that ends does not always do so."""
    for path in HOME.rglob("*"):
        if path.is_file() and path.open("rb").read(16) == b"SQLite format 3\0":
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)


def check_paths() -> None:
    """Ensure that no file contains a path of this machine other than HOME."""
    own = [os.fsencode(Path.home()) + b"/", os.fsencode(sys.prefix), os.fsencode(Path.cwd())]
    for path in HOME.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for needle in own:
            if needle in content:
                raise SystemExit(f"{path} names {needle!r}")


def pack(target: Path) -> None:
    """Write everything below HOME to one archive: equal content gives equal bytes, and hard links remain links."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(HOME.rglob("*")):
            entry = archive.gettarinfo(path, str(path.relative_to(HOME)))
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = int(entry.mtime)
            with path.open("rb") if entry.isreg() else io.BytesIO() as file:
                archive.addfile(entry, file)
    target.write_bytes(lzma.compress(content.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def main() -> None:
    """Make the root, then pack it."""
    target = Path(sys.argv[1]).absolute()
    HOME.mkdir()  # fails if it exists
    write_media(is_first=True)
    (HOME / "animals.yaml").write_text(ANIMALS)
    (HOME / "served.yaml").write_text(SERVED)
    data_miner("run", "--config", "animals.yaml")
    write_media(is_first=False)
    data_miner("run", "--config", "animals.yaml")
    data_miner("calibrate", "animals")
    answer_questions(HOME / "mined/projects/animals/calibration/questions.csv", HOME / "answers.csv")
    data_miner("calibrate", "animals", "--answers", "answers.csv", "--recall", "0.9")
    server = [sys.executable, "-m", "http.server", "18765", "--bind", "127.0.0.1", "--directory", str(HOME / "media")]
    with subprocess.Popen(server, stderr=subprocess.DEVNULL) as serving:
        try:
            data_miner("populate", "--config", "served.yaml")
            data_miner("forget", key_of("rocket.mp4"), "--reason", "its owner asked", "--yes")
            data_miner("run", "--config", "served.yaml")
        finally:
            serving.terminate()
    close_databases()
    check_paths()
    pack(target)


if __name__ == "__main__":
    main()
