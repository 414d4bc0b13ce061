"""Many random videos, planted as if they had been extracted and embedded: keys, frames, vectors, files and boxes."""

import hashlib
import io
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from PIL import Image
from sqlalchemy import update

from data_miner_dagster.catalog.members import add_candidates
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.storage.vectors import StoredEmbeddings, write_embeddings
from data_miner_dagster_tests.oracle import FrameFacts
from data_miner_dagster_tests.support.axis_project import WORDS, PlantedPlatform
from data_miner_dagster_tests.support.embeddings import plant_thumbnails
from data_miner_dagster_tests.support.frames import write_pictures
from data_miner_dagster_tests.support.views import random_thumbnails

PROJECT: Final = "random"
FRAME_WH: Final = (64, 48)
_FLAGS: Final = ("black", "flat", "blurred")
_ID_ALPHABET: Final = np.array([*string.ascii_letters, *string.digits, "_", "-"])


@dataclass(frozen=True)
class PlantedVideos:
    """What was planted: the facts about all frames for the oracle, and vectors and thumbnails by frame id."""

    facts: Sequence[FrameFacts]
    vectors: dict[str, np.ndarray]
    thumbnails: dict[str, np.ndarray]


def random_keys(rng: np.random.Generator, number: int) -> list[str]:
    """Return different video keys of all forms, some of which are prefixes of others."""
    keys: dict[str, None] = {}
    while len(keys) < number:
        word = "".join(rng.choice(_ID_ALPHABET, 11))
        digest = hashlib.sha256(word.encode()).hexdigest()
        forms = (f"youtube-{word}", f"generic-clip.{digest[:16]}", f"file-{digest[:32]}")
        keys[forms[int(rng.integers(3))]] = None
        if rng.random() < 0.1:
            keys[f"{next(reversed(keys))}{rng.choice(['-b', '.b', '0', 'B'])}"] = None
    return list(keys)[:number]


def save_random_project(platform: PlantedPlatform, filtering: dict[str, Any], **sections: Any) -> ProjectConfig:
    """Save the project in the catalog. The planted vectors decide which frames are near-duplicates."""
    config = ProjectConfig.model_validate(
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": filtering,
            "deduplication": {"encoder": "filter"},
            "detection": {"classes": {"cat": [], "dog": [], "bus": []}},
            **sections,
        }
    )
    dump = config.model_dump(mode="json")
    save_snapshot(platform.database, PROJECT, dump, fingerprint_of(dump), None)
    return config


def plant_videos(
    platform: PlantedPlatform, rng: np.random.Generator, num_videos: int, most_frames: int
) -> PlantedVideos:
    """Plant videos of up to `most_frames` frames each. Some of their frames share scenes, files and hashes."""
    keys = random_keys(rng, num_videos)
    _add_to_catalog(platform, keys)
    scenes = rng.normal(size=(max(2, num_videos // 2), len(WORDS))) + np.array([1.5, 0, 0, 0])
    picture = _jpeg()
    facts: list[FrameFacts] = []
    vectors: dict[str, np.ndarray] = {}
    thumbnails: dict[str, np.ndarray] = {}
    for key in keys:
        num_frames = int(rng.integers(1, most_frames + 1))
        shown = scenes[rng.integers(len(scenes), size=num_frames)] + rng.normal(0, 0.15, (num_frames, len(WORDS)))
        units = (shown / np.linalg.norm(shown, axis=1, keepdims=True)).astype(np.float16)
        is_read = rng.random(num_frames) > 0.03
        columns = _columns(rng, num_frames)
        fingerprint = f"frames of {key}"
        write_pictures(platform.layout, key, _contents(rng, picture, num_frames), fingerprint=fingerprint, **columns)
        encoder = platform.encoder
        stored = StoredEmbeddings(
            np.flatnonzero(is_read).astype(np.int32),
            units[is_read],
            embeddings_fingerprint_of(fingerprint, encoder.fingerprint),
        )
        write_embeddings(platform.layout.embedding_file(encoder.name, key), stored)
        small = random_thumbnails(rng, num_frames)
        plant_thumbnails(platform, key, num_frames, small)
        for index, row in enumerate(read_table(platform.layout.frames_table(key)).to_pylist()):
            similarity = dict(zip(WORDS, units[index].astype(float).tolist(), strict=True)) if is_read[index] else None
            facts.append(facts_of(row, similarity))
            thumbnails[row["frame_id"]] = small[index]
            if is_read[index]:
                vectors[row["frame_id"]] = units[index]
    return PlantedVideos(facts, vectors, thumbnails)


def _add_to_catalog(platform: PlantedPlatform, keys: Sequence[str]) -> None:
    found_at = datetime(2026, 1, 1, tzinfo=UTC)
    candidates = [VideoCandidate(key, f"/clips/{key}", "files", ".", 0, found_at, origin=Origin.LOCAL) for key in keys]
    with platform.database.transaction() as session:
        add_candidates(session, PROJECT, [(candidate, None) for candidate in candidates])
        session.execute(update(VideoRow).values(status=VideoStatus.EXTRACTED))


def _jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", FRAME_WH, (90, 120, 60)).save(content, "JPEG")
    return content.getvalue()


def _contents(rng: np.random.Generator, picture: bytes, num_frames: int) -> list[bytes]:
    """Return files with the same picture and different bytes after it. A few equal others of this or another video."""
    names = [int(rng.integers(20)) if rng.random() < 0.05 else int(rng.integers(1 << 60)) for _ in range(num_frames)]
    return [picture + str(name).encode() for name in names]


def _columns(rng: np.random.Generator, num_frames: int) -> dict[str, list[Any]]:
    ticks = np.cumsum(rng.choice([100, 250, 500, 900], num_frames)).tolist()
    hashes = rng.integers(0, 1 << 64, num_frames, np.uint64)
    shared = np.uint64(0x0F0F_3C3C_5A5A_A5A5) ^ (np.uint64(1) << rng.integers(0, 8, num_frames, np.uint64))
    hashes = np.where(rng.random(num_frames) < 0.08, shared, hashes)
    return {
        "pts": ticks,
        "pts_seconds": [tick / 1000 for tick in ticks],
        "sharpness": rng.choice([50.0, 100.0, 200.0], num_frames).tolist(),
        "contrast": rng.choice([10.0, 50.0], num_frames).tolist(),
        "perceptual_hash": hashes.tolist(),
        "quality_flag": [_FLAGS[int(rng.integers(3))] if rng.random() < 0.06 else None for _ in range(num_frames)],
    }


def facts_of(row: dict[str, Any], similarity: dict[str, float] | None) -> FrameFacts:
    """Return the facts of a frame, from its row of `frames.parquet` and its similarities."""
    return FrameFacts(
        row["frame_id"],
        row["video_key"],
        row["frame_index"],
        row["pts_seconds"],
        row["quality_flag"],
        row["sha256"],
        row["perceptual_hash"],
        row["contrast"],
        row["sharpness"],
        row["width"] * row["height"],
        similarity,
    )


Box = tuple[str, float, tuple[float, float, float, float]]  # class name, confidence, corners


def random_boxes(rng: np.random.Generator) -> list[Box]:
    """Return up to four boxes as a detector does, by descending confidence. Some of them coincide."""
    boxes: list[Box] = []
    for _ in range(int(rng.integers(0, 5))):
        left, top = (float(value) for value in rng.integers(0, 30, 2))
        width, height = (float(value) for value in rng.integers(4, 40, 2))
        corners = (left, top, min(left + width, FRAME_WH[0]), min(top + height, FRAME_WH[1]))
        if boxes and rng.random() < 0.4:
            corners = boxes[-1][2]
        confidence = round(float(rng.uniform(0.05, 1)), 4)
        boxes.append((("cat", "dog", "bus")[int(rng.integers(3))], confidence, corners))
    return sorted(boxes, key=lambda box: (-box[1], box[0], *box[2]))
