"""Write the formats whose files contain the images. A split continues in another file when its file is full.

Belongs here: deciding when a shard is full. Does not belong here: the contents of a shard (huggingface.py,
webdataset.py, lance.py).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from data_miner_dagster.export.records import ReleaseImage

MAX_SHARD_IMAGES: Final = 10_000


class Shard(Protocol):
    """One file or Lance fragment of a split."""

    def add(self, image: ReleaseImage, content: bytes) -> None:
        """Write one image, given the bytes of its file."""
        ...

    def close(self) -> None:
        """Finish the shard."""
        ...


@dataclass(slots=True)
class _Open:
    shard: Shard
    number: int
    size_bytes: int = 0
    num_images: int = 0


class ShardedWriter:
    """Writes images to the shards of their splits. One shard per split is open at a time.

    Args:
        release: the folder with the images.
        open_shard: called with a split and a shard number, counting from 0, to open a shard.
        max_shard_bytes: a shard that holds this many bytes of images is full.
        max_shard_images: a shard that holds this many images is also full, since each image takes some memory.
    """

    def __init__(
        self,
        release: Path,
        open_shard: Callable[[str, int], Shard],
        max_shard_bytes: int,
        *,
        max_shard_images: int = MAX_SHARD_IMAGES,
    ) -> None:
        self._release = release
        self._open_shard = open_shard
        self._max_shard_bytes = max_shard_bytes
        self._max_shard_images = max_shard_images
        self._last: dict[str, _Open] = {}

    def add(self, image: ReleaseImage) -> None:
        """Write one image and its labels. If the split's last shard is full, start a new one."""
        last = self._last.get(image.split)
        if last is None or last.size_bytes >= self._max_shard_bytes or last.num_images >= self._max_shard_images:
            number = 0
            if last is not None:
                last.shard.close()
                number = last.number + 1
            last = self._last[image.split] = _Open(self._open_shard(image.split, number), number)
        content = (self._release / image.path_in_release).read_bytes()
        last.shard.add(image, content)
        last.size_bytes += len(content)
        last.num_images += 1

    def close(self) -> None:
        """Finish the last shard of every split, even if finishing one of them fails."""
        with contextlib.ExitStack() as stack:
            for last in self._last.values():
                stack.callback(last.shard.close)
