"""Check whether the positive similarities of videos added after a calibration resemble those of the calibrated videos.

`calibrate` stores a reference beside its answers: the distribution of the positive similarities, and the videos that it
covers. Filtering compares all other videos with the reference. Nothing is compared if there is no reference, or if it
was made with another encoder or other prompts.
"""

import json
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.domain.errors import DamagedFileError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.operations.exemplars import exemplar_basis, exemplars_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.filtering.drift import (
    Drift,
    ScoreDistribution,
    counts_within,
    distribution_of,
    drift,
)
from data_miner_dagster.storage.atomic import write_json
from data_miner_dagster.storage.damage import reading
from data_miner_dagster.storage.tables import read_batches

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reference:
    """The distribution of some videos' positive similarities. `scale` comes from `scale_fingerprint`."""

    scale: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    video_keys: tuple[str, ...]


def scale_fingerprint(platform: Platform, project: str, config: FilteringConfig) -> str:
    """Return the fingerprint of a project's encoder, positive prompts, exemplars and templates.

    Two positive similarities are comparable only if this fingerprint is the same for both.

    Raises:
        ConfigError: an exemplar is missing or unreadable.
    """
    exemplars = exemplars_of(platform, project, config)
    return fingerprint_of(
        {
            "encoder": platform.models.filter_encoder.fingerprint,
            "positive": sorted(config.texts_of("positive")),
            "templates": config.templates,
            **exemplar_basis(platform.models, config, exemplars),
        }
    )


def save_reference(platform: Platform, project: str, config: FilteringConfig) -> None:
    """Store the distribution of the project's current positive similarities as the reference."""
    groups = list(_scores_by_batch(_table(platform, project), ()))
    distribution = distribution_of(np.concatenate([np.zeros(0), *(scores for _, scores in groups)]))
    write_json(
        platform.layout.reference_file(project),
        as_json(
            _Reference(
                scale=scale_fingerprint(platform, project, config),
                edges=distribution.edges,
                counts=distribution.counts,
                video_keys=tuple(sorted({key for keys, _ in groups for key in keys})),
            )
        ),
    )


def read_drift(platform: Platform, project: str, config: FilteringConfig) -> Drift | None:
    """Compare the positive similarities of videos outside the calibration with the reference, and return the drift.

    Return None if the reference is missing, unreadable or not comparable, or if there are no similarities to compare.
    """
    path = platform.layout.reference_file(project)
    if not path.is_file():
        return None
    try:
        with reading(path):
            stored = from_json(_Reference, json.loads(path.read_text(encoding="utf-8")))
    except DamagedFileError as error:
        logger.warning(
            "%s; calibrate the project again, because drift is not checked until then", str(error).partition(";")[0]
        )
        return None
    reference = ScoreDistribution(stored.edges, stored.counts)
    if stored.scale != scale_fingerprint(platform, project, config):
        return None
    counts = np.zeros(len(reference.counts), np.int64)
    for _, scores in _scores_by_batch(_table(platform, project), stored.video_keys):
        counts += counts_within(reference.edges, scores)
    return drift(reference, counts)


def _table(platform: Platform, project: str) -> Path:
    return platform.layout.filtered_table(project)


def _scores_by_batch(
    path: Path, without_videos: Collection[str]
) -> Iterator[tuple[list[str], npt.NDArray[np.float64]]]:
    """Yield the video keys and positive similarities in each batch of rows, except `without_videos` and nulls."""
    excluded = pa.array(sorted(without_videos), pa.string())
    for batch in read_batches(path, ["video_key", "positive_similarity"]):
        rows = batch.filter(pc.invert(pc.is_in(batch.column("video_key"), value_set=excluded)))
        scores = rows.column("positive_similarity").drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
        yield rows.column("video_key").unique().to_pylist(), scores
