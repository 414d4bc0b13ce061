"""Cut one video into blocks of time, one for each split, with a gap between them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from data_miner_dagster.domain.splits import Block, cut_of, text_of_cut

MAX_VIDEOS_CUT: Final = 2
"""With more videos than this, splits are filled with whole videos, and no video is newly cut."""
DEFAULT_GUARD_SECONDS: Final = 5.0
_LARGEST_GUARD: Final = 0.05  # fraction of the time that the images span, if no gap is set


def cut_in_blocks(times: Sequence[float], shares: Mapping[str, float], guard_seconds: float | None) -> str | None:
    """Return the blocks of one video as `text_of_cut` writes them.

    The result is None if there is only one split, or if a block would be empty. The first split has the first block,
    and the others follow in order. Images in the gaps belong to no split.

    Args:
        times: the times of the video's images in seconds, ascending.
        shares: the share of the images for each split, the training split first.
        guard_seconds: the gap before each later block. If None, it is 5 s or a twentieth of the time that the images
            span, whichever is shorter.
    """
    if len(shares) < 2 or len(times) < len(shares):
        return None
    guard = (
        min(DEFAULT_GUARD_SECONDS, _LARGEST_GUARD * (times[-1] - times[0])) if guard_seconds is None else guard_seconds
    )
    num_images = len(times)
    starts = _starts(times, shares, guard, num_images)
    if starts is not None:  # apply the shares to the remaining images, once the cost of the gaps is known
        num_lost = sum(any(start - guard <= time < start for start in starts) for time in times)
        starts = _starts(times, shares, guard, num_images - num_lost) or starts
    if starts is None:
        return None
    stops = [round(start - guard, 3) for start in starts]
    bounds = zip(shares, [0.0, *starts], [*stops, None], strict=True)
    return text_of_cut([Block(split, start, stop) for split, start, stop in bounds])


def with_gaps(split: str, guard_seconds: float | None) -> str:
    """Return a remembered split with gaps of another width, or unchanged if it is not a cut or the gaps do not fit.

    Every block keeps its start, so no image moves from one split to another. A wider gap removes images from the end of
    the previous block. A narrower gap adds images that were in no split to the end of that block.

    Args:
        split: the split of a whole video, or the text of a cut.
        guard_seconds: the gap before each later block. If None, the gaps remain as they are.
    """
    blocks = cut_of(split)
    if not blocks or guard_seconds is None:
        return split
    if not gaps_fit(split, guard_seconds):
        return split
    stops = [round(block.start_seconds - guard_seconds, 3) for block in blocks[1:]]
    return text_of_cut(
        [Block(block.split, block.start_seconds, stop) for block, stop in zip(blocks, [*stops, None], strict=True)]
    )


def gaps_fit(split: str, guard_seconds: float | None) -> bool:
    """Return whether every block of a cut keeps some of its time with gaps of this width.

    The result is always True for the split of a whole video, or if `guard_seconds` is None.
    """
    blocks = cut_of(split)
    return guard_seconds is None or all(
        round(after.start_seconds - guard_seconds, 3) > block.start_seconds for block, after in pairwise(blocks)
    )


def _starts(times: Sequence[float], shares: Mapping[str, float], guard: float, num_images: int) -> list[float] | None:
    """Return the start of each block except the first, or None if some block would have no image.

    Blocks are filled from the last to the second, and the first block gets the rest.
    """
    starts: list[float] = []
    end = len(times)
    for share in reversed(list(shares.values())[1:]):
        first = end - max(1, round(share * num_images))
        if first < 1:
            return None
        start = int(times[first] * 1000) / 1000
        starts.append(start)
        end = next((at for at in range(first, 0, -1) if times[at - 1] < start - guard), 0)
    return starts[::-1] if end >= 1 else None
