"""Find near-duplicates in a folder for `data-miner try dedup`, with the same encoder and method as the stage.

Every folder counts as one video. A trial has no prompts, so the representative of a group is its sharpest picture. If
several pictures are equally sharp, it is the largest of them.
"""

from collections import Counter
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.phrases import counted, counted_phrase, phrase_of
from data_miner_dagster.domain.reasons import DuplicateTier
from data_miner_dagster.index.faiss_index import FaissHashIndex
from data_miner_dagster.media.contact_sheets import Verdict
from data_miner_dagster.media.quality import measure
from data_miner_dagster.models.provider import THUMBNAILS, ModelProvider
from data_miner_dagster.operations.deduplication.frames import appearances_of, newcomers_tiers, video_codes_of
from data_miner_dagster.operations.deduplication.search import choose_search
from data_miner_dagster.operations.embedding.vectors import duplicate_threshold
from data_miner_dagster.operations.trials import Trial, TrialRow, folder_images, read_in_batches
from data_miner_dagster.stages.deduplication.appearances import AlikeRepresentatives
from data_miner_dagster.stages.deduplication.distinctions import NOTHING_APART, Distinctions
from data_miner_dagster.stages.deduplication.leaders import Assignment, find_representatives, quality_order
from data_miner_dagster.stages.embedding import embed_images

_BATCH_SIZE: Final = 16


def try_dedup(models: ModelProvider, config: DeduplicationConfig, folder: Path, *, limit: int | None = None) -> Trial:
    """Group the images of a folder, largest groups first.

    Each group starts with its representative. Unreadable images come last. `limit` is the maximum number of images, or
    None to examine all.

    Raises:
        ConfigError: the folder does not exist or has no images, or no threshold is set for the encoder.
        ModelError: the encoder is missing.
    """
    paths = folder_images(folder, limit=limit)
    role = models.encoder(config.encoder)
    threshold, encoder = duplicate_threshold(config, role), role.load()
    readable_paths: list[Path] = []
    vectors: list[npt.NDArray[np.float16]] = [np.zeros((0, encoder.embedding_dim), np.float16)]
    pictures: list[dict[str, object]] = []
    unreadable: list[tuple[Path, str]] = []
    thumbnail, thumbnails = THUMBNAILS.load(), list[npt.NDArray[np.uint8]]()
    for readable, images, broken in read_in_batches(paths, _BATCH_SIZE):
        readable_paths += readable
        unreadable += broken
        vectors.append(embed_images(encoder, images).astype(np.float16))
        for path, image in zip(readable, images, strict=True):
            thumbnails.append(thumbnail.preprocess(image))
            quality = measure(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
            pictures.append(
                {
                    "frame_id": path.relative_to(folder).as_posix(),
                    "video_key": path.parent.relative_to(folder).as_posix(),
                    "sha256": sha256_of_file(path),
                    "perceptual_hash": quality.perceptual_hash,
                    "contrast": quality.contrast,
                    "generation": 0,
                    "positive_similarity": 0.0,
                    "sharpness": quality.sharpness,
                    "num_pixels": image.shape[0] * image.shape[1],
                }
            )
    frames = pa.Table.from_pylist(pictures, schema=_PICTURES_SCHEMA)
    order = quality_order(frames)
    frames, in_order = frames.take(order), np.concatenate(vectors)[order]
    distinctions = _distinctions(config, frames, [thumbnails[row] for row in order.tolist()])
    search = choose_search(in_order[:0], in_order, threshold, config)
    appearances = appearances_of(frames, config, distinctions)
    alike = AlikeRepresentatives(appearances, FaissHashIndex(config.perceptual_hash_distance))
    assignment = find_representatives(in_order[:0], in_order, threshold, search.index, alike=alike)
    frames = frames.append_column("foreign_tier", pa.nulls(len(frames), pa.string()))
    tiers = newcomers_tiers(frames, appearances, assignment)
    rows = _rows(folder, frames["frame_id"].to_pylist(), assignment, tiers)
    rows += [TrialRow(path, ("unreadable", "", "", ""), reason, Verdict.DROPPED) for path, reason in unreadable]
    num_kept = int(np.count_nonzero(assignment.is_representative))
    counts = Counter(tier for tier in tiers if tier is not None)
    parts = [f"{num_kept} kept", *(counted_phrase(counts[tier], tier.value) for tier in DuplicateTier if counts[tier])]
    parts += [f"{len(unreadable)} unreadable"] * bool(unreadable)
    return Trial(
        title=f"dedup with {encoder.name}, cosine threshold {threshold:g}",
        columns=("decision", "duplicate of", "similarity", "found as"),
        rows=tuple(rows),
        summary=f"{counted(len(paths), 'image')}: {', '.join(parts)}",
    )


def _distinctions(
    config: DeduplicationConfig, frames: pa.Table, thumbnails: list[npt.NDArray[np.uint8]]
) -> Distinctions:
    if config.same_place == "nowhere" or not thumbnails:
        return NOTHING_APART
    is_across_videos = config.same_place == "everywhere"
    return Distinctions(np.stack(thumbnails).__getitem__, video_codes_of(frames), is_across_videos=is_across_videos)


_PICTURES_SCHEMA: Final = pa.schema(
    {
        "frame_id": pa.string(),
        "video_key": pa.string(),
        "sha256": pa.string(),
        "perceptual_hash": pa.uint64(),
        "contrast": pa.float32(),
        "generation": pa.int32(),
        "positive_similarity": pa.float32(),
        "sharpness": pa.float32(),
        "num_pixels": pa.int64(),
    }
)


def _rows(folder: Path, names: list[str], assignment: Assignment, tiers: list[DuplicateTier | None]) -> list[TrialRow]:
    named = assignment.representative_ids
    sizes = np.bincount(named, minlength=len(names))
    # Largest groups first. In each, the representative comes first, then its duplicates, most similar first.
    order = np.lexsort((-assignment.similarities, ~assignment.is_representative, named, -sizes[named]))
    rows = []
    for row in order.tolist():
        tier = tiers[row]
        similarity = f"{assignment.similarities[row]:.3f}"
        if tier is None:
            num_others = int(sizes[row]) - 1
            caption = f"kept for {num_others} more" if num_others else "kept"
            rows.append(TrialRow(folder / names[row], ("kept", "", "", ""), caption, Verdict.KEPT))
        else:
            words = phrase_of(tier.value)
            cells = ("duplicate", names[int(named[row])], similarity, words)
            rows.append(TrialRow(folder / names[row], cells, f"{similarity} {words}", Verdict.DUPLICATE))
    return rows
