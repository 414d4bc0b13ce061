"""Decide on the images in a folder as filtering would, for `data-miner try filter`."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted, phrase_of
from data_miner_dagster.domain.reasons import DropReason
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.media.contact_sheets import Verdict
from data_miner_dagster.models.provider import EncoderRole, ModelProvider
from data_miner_dagster.operations.exemplars import Exemplar, find_exemplars
from data_miner_dagster.operations.prompts import combined, mean_over_templates, picture_encoder
from data_miner_dagster.operations.trials import Trial, TrialRow, folder_images, read_in_batches
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.stages.filtering.decisions import (
    KEPT,
    REASONS,
    Decisions,
    FilteringRules,
    decide,
    resolve_rules,
)

_BATCH_SIZE: Final = 16


def try_filter(
    models: ModelProvider,
    config: FilteringConfig,
    folder: Path,
    *,
    limit: int | None = None,
    shown: Callable[[str], str] = str,
    exemplar_folder: Path = Path(),
) -> Trial:
    """Decide on the images in a folder, and return the results, best first, with unreadable images last.

    If `limit` is given, it is the maximum number of images. Rules about quality, time and videos do not apply. `shown`
    converts a prompt's text for display. Relative exemplar paths are resolved against `exemplar_folder`.

    Raises:
        ConfigError: the folder does not exist or has no images, the thresholds are for another encoder, or an exemplar
            is missing or not a picture.
        ModelError: the weights of an encoder are missing.
    """
    paths = folder_images(folder, limit=limit)
    role = models.filter_encoder
    rules = replace(resolve_rules(config, role.name, role.calibration), min_gap_seconds=0.0, max_frames_per_video=None)
    encoder = role.load()
    vectors = mean_over_templates(
        lambda sentence: encoder.embed_texts([sentence])[0], config.texts, config.templates, encoder.name
    )

    beside = picture_encoder(models, config)
    exemplars = find_exemplars(config, exemplar_folder.absolute())
    scores = combined(config, (config.texts, vectors), exemplars, _embed_exemplar, (role, beside))
    similarities_by_path: dict[Path, Float32Array] = {}
    for readable, images, _ in read_in_batches(paths, _BATCH_SIZE):
        found = scores.similarities(_stored(role, images), None if beside is None else _stored(beside, images))
        similarities_by_path |= dict(zip(readable, found, strict=True))
    similarities = np.full((len(paths), len(config.texts)), np.nan, np.float16)
    for row, path in enumerate(paths):
        if path in similarities_by_path:
            similarities[row] = similarities_by_path[path]
    decisions = decide(
        {text: similarities[:, column] for column, text in enumerate(config.texts)},
        rules,
        pts_seconds=np.arange(len(paths), dtype=np.float64),
        video_offsets=np.array([0, len(paths)]),
        quality_reasons=np.full(len(paths), KEPT, np.int8),
    )
    order = np.argsort(-np.nan_to_num(decisions.headroom, nan=-np.inf), kind="stable").tolist()
    words = [shown(rule.text) for rule in rules.positive]
    rows = tuple(_row(paths[position], position, words, decisions) for position in order)
    counts = Counter("kept" if code == KEPT else phrase_of(REASONS[code].value) for code in decisions.reasons.tolist())
    names = ("kept", *(phrase_of(reason.value) for reason in DropReason))
    ordered = ", ".join(f"{counts[name]} {name}" for name in names if counts[name])
    return Trial(
        title=f"filter with {encoder.name}, {_thresholds_of(rules)}",
        columns=("decision", "positive", "prompt", "negative", "junk"),
        rows=rows,
        summary=f"{counted(len(paths), 'image')}: {ordered}",
    )


def _thresholds_of(rules: FilteringRules) -> str:
    """Return the positive threshold, or the lowest and the highest one if prompts have different thresholds."""
    found = [rule.threshold or 0.0 for rule in rules.positive]
    lowest, highest = min(found), max(found)
    return f"positive threshold {lowest:g}" if lowest == highest else f"positive thresholds {lowest:g} to {highest:g}"


def _stored(encoder: EncoderRole, images: Sequence[RgbImage]) -> Float32Array:
    """Return the (N, D) float32 vectors of images, rounded to float16 precision like the stored vectors of frames."""
    vectors: Float32Array = embed_images(encoder.load(), images).astype(np.float16).astype(np.float32)
    return vectors


def _embed_exemplar(exemplar: Exemplar, encoder: EncoderRole) -> Float32Array:
    ((_, images, unreadable),) = read_in_batches([exemplar.path], 1)
    if unreadable:
        raise ConfigError(f"filtering: the exemplar {unreadable[0][1]}; replace the file")
    vectors: Float32Array = embed_images(encoder.load(), images)
    vector: Float32Array = vectors[0]
    return vector


def _row(path: Path, position: int, prompts: Sequence[str], decisions: Decisions) -> TrialRow:
    code = int(decisions.reasons[position])
    decision = "kept" if code == KEPT else phrase_of(REASONS[code].value)

    def similarity(values: Float32Array) -> str:
        return "" if np.isnan(values[position]) else f"{values[position]:.3f}"

    prompt = int(decisions.positive_prompts[position])
    words = prompts[prompt] if prompt >= 0 else ""
    positive = similarity(decisions.positive_similarities)
    return TrialRow(
        path=path,
        cells=(
            decision,
            positive,
            words,
            similarity(decisions.negative_similarities),
            similarity(decisions.junk_similarities),
        ),
        caption=f"{positive} {decision}",
        verdict=Verdict.KEPT if code == KEPT else Verdict.DROPPED,
    )
