"""Match ground-truth images with frames.

An image is matched by the first item of this list that identifies a frame:

1. The frame id that the ground truth states (`frame_id` of an image in COCO files that this package wrote).
2. The file name in a release, `<video key>_<six digits>`, in any folder and with any extension. The end of a path under
   `frames/`, `<video key>/<six digits>`, is recognized too.
3. The sha256 of the image file, if the file is beside the ground truth.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.operations.evaluation.truth import TruthImage

_NAME: Final = re.compile(r"(?P<video>.+)[_/](?P<index>\d{6})")


@dataclass(frozen=True, slots=True)
class MatchedImages:
    """The ground-truth images that are frames, by frame id, and the names of the other images.

    `unmatched` images match no frame. `repeated` images match a frame that an earlier image already matches.
    """

    images: Mapping[str, TruthImage]
    unmatched: tuple[str, ...]
    repeated: tuple[str, ...]


def match_images(
    images: Sequence[TruthImage], frame_ids: Iterable[str], sha256_by_frame: Mapping[str, str]
) -> MatchedImages:
    """Match ground-truth images with frames. If several images match the same frame, the first one counts.

    If several frames have the same file, an image that is identified by its sha256 matches the last of them.

    Args:
        images: the ground-truth images.
        frame_ids: the ids of the frames to match.
        sha256_by_frame: the sha256 of each frame's file, by frame id.
    """
    known = frozenset(frame_ids)
    frame_by_sha256 = {sha256: frame_id for frame_id, sha256 in sha256_by_frame.items()}
    matched: dict[str, TruthImage] = {}
    unmatched, repeated = [], []
    for image in images:
        frame_id = _frame_of(image, known, frame_by_sha256)
        if frame_id is None:
            unmatched.append(image.name)
        elif frame_id in matched:
            repeated.append(image.name)
        else:
            matched[frame_id] = image
    return MatchedImages(matched, tuple(unmatched), tuple(repeated))


def _frame_of(image: TruthImage, known: frozenset[str], frame_by_sha256: Mapping[str, str]) -> str | None:
    if image.frame_id in known:
        return image.frame_id
    path = PurePosixPath(image.name.replace("\\", "/"))
    for name in (path.stem, "/".join((path.parent.name, path.stem))):
        parts = _NAME.fullmatch(name)
        if parts is not None and (frame_id := f"{parts['video']}/{parts['index']}") in known:
            return frame_id
    return frame_by_sha256.get(sha256_of_file(image.file)) if image.file is not None else None
