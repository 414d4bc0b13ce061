"""Compute plainly, from the stored data of a project's frames, the results that the project's stages must have.

Written from docs/filtering.md, docs/deduplication.md and docs/releases.md with loops and dictionaries, without the
stages' own code. numpy is only used for calculations on a whole row. The code is slow, but small enough to be trusted.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np

REASON_ORDER: Final = ("black", "flat", "blurred", "slide", "text")


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """The stored data of one frame. `similarity` is by prompt, or None if the picture could not be read."""

    frame_id: str
    video_key: str
    frame_index: int
    seconds: float
    flag: str | None
    sha256: str
    perceptual_hash: int
    contrast: float
    sharpness: float
    num_pixels: int
    similarity: Mapping[str, float] | None


# --- filtering ---


@dataclass(frozen=True, slots=True)
class FilterRules:
    """The prompts, each with its effective threshold and margin."""

    positive: Mapping[str, float]  # threshold by prompt
    negative: Mapping[str, tuple[float | None, float]]  # threshold and margin by prompt
    junk: Mapping[str, tuple[float, float | None]]  # threshold and margin by prompt
    dropped_flags: Sequence[str] = REASON_ORDER
    min_gap_seconds: float = 0.0
    max_frames_per_video: int | None = None
    cap_by: Literal["similarity", "spread"] = "similarity"


def filter_decisions(frames: Sequence[FrameFacts], rules: FilterRules) -> dict[str, str | None]:
    """Return the reason why each frame is dropped, or None if it is kept, by frame id."""
    reasons = {frame.frame_id: _own_reason(frame, rules) for frame in frames}
    headroom = {frame.frame_id: _headroom(frame, rules) for frame in frames}
    by_video: dict[str, list[FrameFacts]] = {}
    for frame in sorted(frames, key=lambda frame: frame.frame_index):
        by_video.setdefault(frame.video_key, []).append(frame)
    for of_video in by_video.values():
        _drop_too_close(of_video, reasons, headroom, rules.min_gap_seconds)
        _drop_over_cap(of_video, reasons, headroom, rules)
    return reasons


def _headroom(frame: FrameFacts, rules: FilterRules) -> float:
    if frame.similarity is None:
        return float("-inf")
    return max(frame.similarity[text] - threshold for text, threshold in rules.positive.items())


def leading_similarity(frame: FrameFacts, rules: FilterRules) -> float | None:
    """Return the similarity to the positive prompt with the most headroom, the first of equals.

    It is None if the picture could not be read.
    """
    if frame.similarity is None:
        return None
    similarity = frame.similarity
    best = max(rules.positive, key=lambda text: similarity[text] - rules.positive[text])
    return similarity[best]


def _own_reason(frame: FrameFacts, rules: FilterRules) -> str | None:
    if frame.flag in rules.dropped_flags:
        return frame.flag
    positive = leading_similarity(frame, rules)
    if frame.similarity is None or positive is None:
        return "unreadable"
    if _headroom(frame, rules) < 0:
        return "below_positive"
    for text, (threshold, margin) in rules.negative.items():
        if (threshold is None or frame.similarity[text] >= threshold) and positive < frame.similarity[text] + margin:
            return "beaten_by_negative"
    for text, (least, lead) in rules.junk.items():
        if frame.similarity[text] >= least and (lead is None or frame.similarity[text] >= positive + lead):
            return "junk"
    return None


def _drop_too_close(
    frames: Sequence[FrameFacts], reasons: dict[str, str | None], headroom: Mapping[str, float], gap: float
) -> None:
    kept: list[float] = []
    candidates = [frame for frame in frames if reasons[frame.frame_id] is None]
    for frame in sorted(candidates, key=lambda frame: (-headroom[frame.frame_id], frame.frame_index)):
        if any(frame.seconds > other - gap and frame.seconds < other + gap for other in kept):
            reasons[frame.frame_id] = "too_close_in_time"
        else:
            kept.append(frame.seconds)


def _drop_over_cap(
    frames: Sequence[FrameFacts], reasons: dict[str, str | None], headroom: Mapping[str, float], rules: FilterRules
) -> None:
    candidates = [frame for frame in frames if reasons[frame.frame_id] is None]
    most = rules.max_frames_per_video
    if most is None or len(candidates) <= most:
        return
    if rules.cap_by == "similarity":
        best = sorted(candidates, key=lambda frame: (-headroom[frame.frame_id], frame.frame_index))[:most]
    else:
        size, larger = divmod(len(candidates), most)
        best, start = [], 0
        for part in range(most):
            stop = start + size + (part < larger)
            best.append(max(candidates[start:stop], key=lambda frame: headroom[frame.frame_id]))
            start = stop
    for frame in candidates:
        if frame not in best:
            reasons[frame.frame_id] = "over_video_cap"


# --- deduplication ---


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The decision about a kept frame. `tier` is None for a representative, which represents itself."""

    representative: str
    tier: str | None


@dataclass(frozen=True, slots=True)
class DuplicateRules:
    """Rules for when two frames are near-duplicates."""

    threshold: float
    max_hash_distance: int = 4
    least_contrast: float = 20.0


def deduplicate(
    kept: Sequence[FrameFacts],
    similarity: Mapping[str, float],
    vectors: Mapping[str, np.ndarray],
    rules: DuplicateRules,
    is_apart: Callable[[str, str], bool],
) -> dict[str, Duplicate]:
    """Return the decision about each kept frame, by frame id.

    The frames are taken best first. A frame joins its nearest representative, or becomes one if none is near.

    Args:
        kept: frames that filtering kept.
        similarity: similarity to the positive prompt with the most headroom, by frame id.
        vectors: stored vectors by frame id.
        rules: rules for when two frames are near.
        is_apart: given two frame ids, returns True if the frames are not near although they seem to be.
    """
    ordered = sorted(
        kept, key=lambda frame: (-similarity[frame.frame_id], -frame.sharpness, -frame.num_pixels, frame.frame_id)
    )
    if not ordered:
        return {}
    matrix = np.stack([vectors[frame.frame_id].astype(np.float64) for frame in ordered])
    squares = (matrix * matrix).sum(axis=1)
    hashes = np.array([frame.perceptual_hash for frame in ordered], np.uint64)
    says_something = np.array(
        [frame.contrast >= rules.least_contrast and frame.perceptual_hash.bit_count() >= 16 for frame in ordered]
    )
    files = np.array([frame.sha256 for frame in ordered])
    found: dict[str, Duplicate] = {}
    chosen: list[int] = []
    for row, frame in enumerate(ordered):
        cosines = (matrix[chosen] * matrix[row]).sum(axis=1) / np.sqrt(squares[chosen] * squares[row])
        is_same_file = files[chosen] == files[row]
        is_near_hash = np.bitwise_count(hashes[chosen] ^ hashes[row]) <= rules.max_hash_distance
        is_near_hash &= says_something[chosen] & says_something[row]
        within = np.flatnonzero((cosines >= rules.threshold) | is_same_file | is_near_hash)
        nearest_first = sorted(within.tolist(), key=lambda place: (-cosines[place], place))
        apart = (is_apart(frame.frame_id, ordered[chosen[place]].frame_id) for place in nearest_first)
        best = next((place for place, is_other in zip(nearest_first, apart, strict=False) if not is_other), None)
        if best is None:
            found[frame.frame_id] = Duplicate(frame.frame_id, None)
            chosen.append(row)
            continue
        other = ordered[chosen[best]]
        if is_same_file[best]:
            tier = "exact"
        elif is_near_hash[best]:
            tier = "perceptual_hash"
        else:
            tier = "within_video" if other.video_key == frame.video_key else "across_videos"
        found[frame.frame_id] = Duplicate(other.frame_id, tier)
    return found


def reuploads(
    kept: Sequence[FrameFacts], found: Mapping[str, Duplicate], least_share: float = 0.8, least_pictures: int = 3
) -> dict[str, str]:
    """Return the video that contains each re-uploaded video, by the key of the re-upload."""
    runs: dict[str, list[tuple[str, int]]] = {}
    num_own: dict[str, int] = {}
    for frame in sorted(kept, key=lambda frame: (frame.video_key, frame.frame_index)):
        group = found[frame.frame_id].representative
        num_own[frame.video_key] = num_own.get(frame.video_key, 0) + (group == frame.frame_id)
        of_video = runs.setdefault(frame.video_key, [])
        if of_video and of_video[-1][0] == group:
            of_video[-1] = (group, of_video[-1][1] + 1)
        else:
            of_video.append((group, 1))
    candidates: dict[str, list[tuple[float, int, str]]] = {}
    for (one, other), number in _pictures_shared(runs).items():
        if number < least_pictures:
            continue
        original, copy = sorted((one, other), key=lambda key: (-num_own[key], key))
        for video, within in ((copy, original), (original, copy)):
            num_frames = sum(length for _, length in runs[video])
            matched, pictures = _in_order(runs[video], runs[within])
            if matched >= least_share * num_frames and pictures >= least_pictures:
                candidates.setdefault(video, []).append((-matched / num_frames, -num_own[within], within))
                break
    return {video: min(others)[2] for video, others in candidates.items()}


def _pictures_shared(runs: Mapping[str, Sequence[tuple[str, int]]]) -> dict[tuple[str, str], int]:
    """Return the number of pictures that each pair of videos shares, ignoring pictures in more than 50 videos."""
    videos_by_group: dict[str, set[str]] = {}
    for key, of_video in runs.items():
        for group, _ in of_video:
            videos_by_group.setdefault(group, set()).add(key)
    shared: dict[tuple[str, str], int] = {}
    for videos in videos_by_group.values():
        if len(videos) <= 50:
            for pair in combinations(sorted(videos), 2):
                shared[pair] = shared.get(pair, 0) + 1
    return shared


def _in_order(runs: Sequence[tuple[str, int]], others: Sequence[tuple[str, int]]) -> tuple[int, int]:
    """Return (frames, pictures) of the common subsequence with the most frames of `runs`, then the most pictures."""
    best = [(0, 0)] * (len(others) + 1)
    for group, length in runs:
        row = [(0, 0)]
        for place, (other, _) in enumerate(others):
            longest = max(best[place + 1], row[place])
            if other == group:
                frames, pictures = best[place]
                longest = max(longest, (frames + length, pictures + 1))
            row.append(longest)
        best = row
    return best[-1]


# --- releasing ---


def split_groups(video_keys: Sequence[str], links: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the groups of videos that must share a split because they are linked, even indirectly; each is sorted."""
    neighbours: dict[str, set[str]] = {}
    for one, other in links:
        neighbours.setdefault(one, set()).add(other)
        neighbours.setdefault(other, set()).add(one)
    groups, seen = [], set[str]()
    for key in sorted(video_keys):
        if key in seen:
            continue
        group, pending = set[str](), [key]
        while pending:
            current = pending.pop()
            if current not in group:
                group.add(current)
                pending.extend(neighbours.get(current, ()))
        seen |= group
        groups.append(sorted(group & set(video_keys)))
    return groups


def split_problems(
    groups: Sequence[Sequence[str]], shares: Mapping[str, float], splits: Mapping[str, str], images: Mapping[str, int]
) -> list[str]:
    """Return a message for each problem with the splits of a first release.

    Args:
        groups: groups of videos that must share a split.
        shares: share by split, the training split first.
        splits: split by video key, or `<split> <from>-<to>, ...` for a video that is cut in time.
        images: number of images by video key.
    """
    keys = [key for group in groups for key in group]
    if sorted(splits) != sorted(keys):
        return [f"splits are of {sorted(splits)}, and not of {sorted(keys)}"]
    cut = [key for key in keys if " " in splits[key]]
    if len(keys) > 2 and cut:
        return [f"{cut} are cut, although there are {len(keys)} videos"]
    problems = [f"{group} is divided" for group in groups if not cut and len({splits[key] for key in group}) > 1]
    filled = {part.split(" ")[0] for split in splits.values() for part in split.split(", ")}
    if next(iter(shares)) not in filled or (len(groups) >= len(shares) and filled != set(shares)):
        problems.append(f"only {sorted(filled)} of {list(shares)} are filled")
    total, largest = sum(images.values()), max(sum(images[key] for key in group) for group in groups)
    for split, share in shares.items():
        number = sum(images[key] for key in keys if splits[key] == split)
        if not cut and abs(number - share * total) > 0.05 * total + largest:
            problems.append(f"{split} has {number} of {total} images")
    return problems


def split_at(split: str, seconds: float) -> str | None:
    """Return the split of a time in a video, given the video's split or its cut, or None if the time is in a gap."""
    if " " not in split:
        return split
    for part in split.split(", "):
        name, _, times = part.partition(" ")
        start, _, stop = times.partition("-")
        if float(start) <= seconds and (stop == "end" or seconds < float(stop)):
            return name
    return None
