"""Projects whose detector makes known mistakes: boxes without an object, shifted boxes, and objects without a box."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_miner_dagster.export.parquet import read_images
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.support.annotators import Corners, TrueBox, Truth
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project

FRAMES_A_VIDEO = 20
_PLACES: tuple[Corners, ...] = ((2.0, 3.0, 20.0, 21.0), (24.0, 3.0, 42.0, 21.0), (2.0, 25.0, 20.0, 43.0))
_BESIDE: Corners = (24.5, 25.25, 42.5, 43.25)
_SHIFT = 4.0  # a box has 18 pixels, so the IoU is .64
WRONG, SHIFTED, MISSING = 0.2, 0.05, 0.05
"""The numbers of wrong, shifted and missing boxes, as shares of the boxes that a correct detector would find."""


@dataclass(frozen=True)
class FaultyProject:
    """A project on disk, the objects that are really on its frames, and the number of faults of each kind."""

    platform: Platform
    truth: Truth
    num_wrong: int
    num_shifted: int
    num_missing: int


def build_faulty_project(root: Path, num_images: int, *, seed: int = 0) -> FaultyProject:
    """Write a project of `num_images` frames with three objects each, and spread faults over them at random."""
    generator = np.random.default_rng(seed)
    frame_ids = [(video, index) for video in range(-(-num_images // FRAMES_A_VIDEO)) for index in range(FRAMES_A_VIDEO)]
    frame_ids = frame_ids[:num_images]
    num_objects = num_images * len(_PLACES)
    shuffled = generator.permutation(num_objects).tolist()
    num_shifted, num_missing, num_wrong = (round(share * num_objects) for share in (SHIFTED, MISSING, WRONG))
    shifted, missing = {*shuffled[:num_shifted]}, {*shuffled[num_shifted : num_shifted + num_missing]}
    wrong = {*generator.permutation(num_images)[:num_wrong].tolist()}
    truth: dict[str, list[TrueBox]] = {}
    boxes: dict[int, dict[int, list[tuple[str, float, Corners]]]] = {}
    for number, (video, index) in enumerate(frame_ids):
        found = boxes.setdefault(video, {}).setdefault(index, [])
        objects = [(("person", "bicycle")[place % 2], corners) for place, corners in enumerate(_PLACES)]
        truth[f"files-{video:03d}/{index:06d}"] = objects
        for place, (class_name, (left, top, right, bottom)) in enumerate(objects):
            which = number * len(_PLACES) + place
            by = _SHIFT if which in shifted else 0.0
            if which not in missing:
                found.append((class_name, 0.9 - 0.01 * place, (left + by, top, right + by, bottom)))
        if number in wrong:
            found.append(("person", 0.6, _BESIDE))
    videos = [
        SampleVideo(f"files-{video:03d}", num_frames=len(frames), boxes=frames) for video, frames in boxes.items()
    ]
    platform = build_project(root, videos=videos)
    return FaultyProject(platform, truth, len(wrong), num_shifted, num_missing)


def faults_of_release(project: FaultyProject, version: str, *, within: float = 0.02) -> Iterator[str]:
    """Yield a line for each frame whose labels in a release differ from the truth by more than `within` pixels.

    A frame that is not in the release also gets a line.
    """
    release = project.platform.layout.release_folder("cyclists", version)
    left = dict(project.truth)
    for image in read_images(release):
        wanted = sorted(left.pop(image.frame_id))
        found = sorted((box.class_name, box.box_xyxy) for box in image.labels)
        names = [class_name for class_name, _ in found] == [class_name for class_name, _ in wanted]
        if not names or not np.allclose([box for _, box in found], [box for _, box in wanted], atol=within):
            yield f"{image.frame_id}: {found}"
    yield from (f"{frame_id}: it is not in the release" for frame_id in left)
