"""Compare a run's results with the known content of the clips and with the oracle. Each difference is one line."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
from PIL import Image

from data_miner_dagster.domain.keys import digest_of_key
from data_miner_dagster.models.provider import THUMBNAILS
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.prompts import embed_prompts
from data_miner_dagster.sites.local_files import key_of_file
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.storage.vectors import StoredEmbeddings, read_embeddings
from data_miner_dagster_tests import oracle
from data_miner_dagster_tests.oracle import DuplicateRules, FilterRules, FrameFacts
from data_miner_dagster_tests.real_size.collection import Clip, Place
from data_miner_dagster_tests.real_size.pictures import read_stamp
from data_miner_dagster_tests.real_size.project import (
    CONFIDENCE,
    DUPLICATE_THRESHOLD,
    EVERY_SECONDS,
    SHARES,
)
from data_miner_dagster_tests.sites.hostile_server import HostileServer
from data_miner_dagster_tests.support.random_project import facts_of
from data_miner_dagster_tests.support.views import told_apart_by

Row = Mapping[str, Any]

_HALF_PRECISION: Final = 2e-3


def rows_of_clips(clips: Sequence[Clip], server: HostileServer, videos: Sequence[Row]) -> dict[int, Row]:
    """Return the row of `data-miner videos --json` for each clip that has one, by the clip's number."""
    by_digest = {digest_of_key(str(row["key"])): row for row in videos}
    by_url = {str(row["url"]): row for row in videos}
    found: dict[int, Row] = {}
    for clip in clips:
        match clip.place:
            case Place.FOLDER | Place.NAMED:
                row = by_digest.get(digest_of_key(key_of_file(clip.path)[0]))
            case Place.FRAMES:
                row = by_url.get(str(clip.path))
            case _:
                url = server.url(clip.route)
                row = by_url.get(url) or next((by_url[one] for one in by_url if unquote(one) == unquote(url)), None)
        if row is not None:
            found[clip.number] = row
    return found


def check_outcomes(clips: Sequence[Clip], rows: Mapping[int, Row]) -> Iterator[str]:
    """Yield a line for each clip with a wrong outcome."""
    for clip in clips:
        row = rows.get(clip.number)
        what = f"{clip.number} ({clip.kind}, {clip.place.value})"
        if row is None:
            yield f"{what} is not a video of the project"
        elif clip.is_good and row["status"] != "EXTRACTED":
            yield f"{what} is {row['status']}: {row['error_kind']}: {row['error']}"
        elif not clip.is_good and row["error_kind"] not in clip.reasons:
            wanted = " or ".join(sorted(clip.reasons))
            yield f"{what} should be {wanted}, and is {row['status']}: {row['error_kind']}: {row['error']}"


# --- frames ---


def expected_pictures(clip: Clip) -> list[int]:
    """Return the indices, among a clip's shown pictures, of those that must become frames: on screen at each step."""
    if clip.place is Place.FRAMES:
        return list(range(len(clip.times)))
    step = Fraction(str(EVERY_SECONDS))
    taken: list[int] = []
    for number in range(int(clip.times[-1] / step) + 1):
        on_screen = max(place for place, time in enumerate(clip.times) if time <= number * step)
        if on_screen not in taken:
            taken.append(on_screen)
    return taken


def check_frames(platform: Platform, clip: Clip, video_key: str) -> Iterator[str]:
    """Yield a line for each problem with the frames of a good clip: their number, times or content."""
    what = f"{clip.number} ({clip.kind})"
    table = read_table(platform.layout.frames_table(video_key)).to_pylist()
    expected = expected_pictures(clip)
    if [row["frame_index"] for row in table] != list(range(len(table))):
        yield f"{what}: frames {[row['frame_index'] for row in table]} are not numbered one after the other"
    if len(table) != len(expected):
        yield f"{what}: {len(table)} frames instead of {len(expected)}"
        return
    first = Fraction(table[0]["pts"]) * Fraction(table[0]["time_base_numerator"], table[0]["time_base_denominator"])
    for row, wanted in zip(table, expected, strict=True):
        time = Fraction(row["pts"]) * Fraction(row["time_base_numerator"], row["time_base_denominator"]) - first
        # If a container rounds times, the picture on screen may be the previous or the next one.
        allowed = {
            place
            for place in range(max(0, wanted - 1), min(wanted + 2, len(clip.times)))
            if place == wanted or abs(clip.times[max(place, wanted)] - _step_near(clip.times[wanted])) <= clip.tolerance
        }
        seen = wanted
        if clip.has_stamps:
            with Image.open(platform.layout.frame_path(video_key, row["file_name"])) as image:
                seen = read_stamp(np.asarray(image.convert("RGB"))) - clip.numbers[0]
            if clip.place is Place.FRAMES:
                seen = clip.numbers.index(seen + clip.numbers[0]) if seen + clip.numbers[0] in clip.numbers else -1
        if seen not in allowed:
            yield f"{what}: frame {row['frame_index']} shows picture {seen} instead of {wanted}"
        elif clip.place is not Place.FRAMES and abs(time - clip.times[seen]) > 2 * clip.tolerance:
            yield f"{what}: frame {row['frame_index']} is at {float(time):.4f} s, not {float(clip.times[seen]):.4f} s"


def _step_near(time: Fraction) -> Fraction:
    step = Fraction(str(EVERY_SECONDS))
    return round(time / step) * step


# --- stages ---


@dataclass(frozen=True)
class StoredProject:
    """A project's decisions and everything from which they were made, as stored."""

    platform: Platform
    name: str

    def table(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of one of the project's tables."""
        path = self.platform.layout.project_folder(self.name) / f"{name}.parquet"
        rows: list[dict[str, Any]] = read_table(path).to_pylist()
        return rows

    @property
    def member_keys(self) -> list[str]:
        """The keys of the videos that have frames, sorted."""
        return sorted({row["video_key"] for row in self.table("similarities")})

    def vectors(self, encoder: str) -> dict[str, np.ndarray]:
        """Return every stored vector of an encoder, by frame id."""
        vectors: dict[str, np.ndarray] = {}
        for key in self.member_keys:
            stored = read_embeddings(self.platform.layout.embedding_file(encoder, key))
            if isinstance(stored, StoredEmbeddings):
                for index, vector in zip(stored.frame_indices.tolist(), stored.vectors, strict=True):
                    vectors[f"{key}/{index:06d}"] = vector
        return vectors

    def similarities(self) -> dict[str, dict[str, float] | None]:
        """Return each frame's stored similarities by prompt, or None if its picture could not be read, by frame id."""
        found: dict[str, dict[str, float] | None] = {}
        for row in self.table("similarities"):
            values = {name.partition(":")[2]: row[name] for name in row if name.startswith("similarity:")}
            is_read = not any(value is None for value in values.values())
            found[row["frame_id"]] = {text: float(value) for text, value in values.items()} if is_read else None
        return found

    def facts(self) -> list[FrameFacts]:
        """Return the facts about every frame of every member, from the tables of frames and similarities."""
        similarities = self.similarities()
        return [
            facts_of(row, similarities[row["frame_id"]])
            for key in self.member_keys
            for row in read_table(self.platform.layout.frames_table(key)).to_pylist()
        ]


def check_similarities(project: StoredProject) -> Iterator[str]:
    """Yield a line for each similarity that is not the product of the frame's stored vector and the prompt's vector."""
    platform, stored = project.platform, project.similarities()
    texts = sorted({text for values in stored.values() if values is not None for text in values})
    prompts = dict(zip(texts, embed_prompts(platform, texts), strict=True))
    vectors = project.vectors(platform.models.filter_encoder.name)
    if stored.keys() != vectors.keys():
        yield f"{len(stored)} frames have similarities, {len(vectors)} have vectors"
    for frame_id, values in stored.items():
        for text, value in (values or {}).items():
            plain = float(np.dot(vectors[frame_id].astype(np.float64), prompts[text].astype(np.float64)))
            if abs(plain - value) > _HALF_PRECISION:
                yield f"{frame_id} is stored as {value:.4f} to {text!r}, and its vector is at {plain:.4f}"


def check_filtering(project: StoredProject, facts: Sequence[FrameFacts], rules: FilterRules) -> Iterator[str]:
    """Yield a line for each frame on which filtering and the oracle disagree."""
    expected = oracle.filter_decisions(facts, rules)
    stored = {row["frame_id"]: row["drop_reason"] for row in project.table("filtered")}
    if stored.keys() != expected.keys():
        yield f"{len(stored)} frames were decided on, {len(expected)} are there"
    for frame_id, reason in expected.items():
        if stored.get(frame_id) != reason:
            yield f"{frame_id} should be {reason or 'kept'}, and is {stored.get(frame_id) or 'kept'}"


def check_deduplication(
    project: StoredProject, facts: Sequence[FrameFacts], rules: FilterRules, vectors: Mapping[str, np.ndarray]
) -> Iterator[str]:
    """Yield a line for each frame whose group differs from the oracle's, and a line if the re-uploads differ."""
    kept_ids = {row["frame_id"] for row in project.table("filtered") if row["is_kept"]}
    kept = [frame for frame in facts if frame.frame_id in kept_ids]
    leading = {frame.frame_id: float(oracle.leading_similarity(frame, rules) or 0.0) for frame in kept}
    is_apart = told_apart_by(project.vectors(THUMBNAILS.name))
    expected = oracle.deduplicate(kept, leading, vectors, DuplicateRules(DUPLICATE_THRESHOLD), is_apart)
    stored = {
        row["frame_id"]: oracle.Duplicate(row["representative_frame_id"], row["tier"])
        for row in project.table("deduplicated")
    }
    if stored.keys() != expected.keys():
        yield f"{len(stored)} frames were compared, {len(expected)} are kept"
    for frame_id, wanted in expected.items():
        if stored.get(frame_id) != wanted:
            yield f"{frame_id} should be {wanted}, and is {stored.get(frame_id)}"
    found = {row["video_key"]: row["original_video_key"] for row in project.table("reuploads")}
    if (wanted_reuploads := oracle.reuploads(kept, expected)) != found:
        yield f"re-uploads should be {wanted_reuploads}, and are {found}"


def check_release(project: StoredProject, folder: Path) -> Iterator[str]:
    """Yield a line for each image of a release that is unexpected, missing, wrong or in a wrong split."""
    rows = project.table("deduplicated")
    unique = [row for row in rows if row["is_representative"]]
    boxes: dict[str, int] = {}
    for box in project.table("detections"):
        boxes[box["frame_id"]] = boxes.get(box["frame_id"], 0) + (box["confidence"] >= np.float32(CONFIDENCE))
    links = [(row["video_key"], row["representative_frame_id"].rpartition("/")[0]) for row in rows]
    links += [(row["video_key"], row["original_video_key"]) for row in project.table("reuploads")]
    keys = sorted({row["video_key"] for row in unique})
    manifest = json.loads((folder / "release.json").read_text(encoding="utf-8"))
    splits = manifest["splits"]["by_video"]
    groups = oracle.split_groups(keys, links)
    yield from oracle.split_problems(groups, SHARES, splits, Counter(row["video_key"] for row in unique))
    expected = [
        (row["frame_id"], splits.get(row["video_key"], "no split"), boxes.get(row["frame_id"], 0))
        for row in sorted(unique, key=lambda row: (row["video_key"], row["frame_index"]))
    ]
    images = read_table(folder / "data" / "images.parquet").to_pylist()
    found = [(row["frame_id"], row["split"], row["num_boxes"]) for row in images]
    for wanted in sorted(set(expected) - set(found)):
        yield f"{wanted} is not in the release"
    for other in sorted(set(found) - set(expected)):
        yield f"{other} is in the release"
    if found != expected and set(found) == set(expected):
        yield "the images of the release are in another order"
    for row in images:
        key, _, index = row["frame_id"].rpartition("/")
        [frame] = [
            frame
            for frame in read_table(project.platform.layout.frames_table(key)).to_pylist()
            if frame["frame_index"] == int(index)
        ]
        if (frame["sha256"], frame["pts"]) != (row["sha256"], row["pts"]):
            yield f"{row['frame_id']} in the release is not the frame that was extracted"
        if not (folder / "images" / row["file_name"]).is_file():
            yield f"the image of {row['frame_id']} is not there"
