"""Choose a limited number of a project's images, for `releasing.select` and `data-miner select`."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.selecting import SelectionConfig
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.operations.embedding.vectors import read_frame_vectors
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.planning import FrameTally
from data_miner_dagster.operations.releasing.quality import labelling_of
from data_miner_dagster.operations.releasing.source import ReleaseSource
from data_miner_dagster.operations.releasing.splitting import decided_splits, split_videos
from data_miner_dagster.operations.releasing.writing import videos_with_images
from data_miner_dagster.operations.split_memory import read_manifests
from data_miner_dagster.stages.releasing import CandidateColumns, Candidates, chosen_frames
from data_miner_dagster.stages.selecting import (
    GroupLimit,
    Pool,
    choose_images,
    covering_radius,
    projected,
    uncertainties,
)

_FRAMES_AT_ONCE: Final = 20_000


class ProjectSelection:
    """An `ImageSelection` (stages/releasing.py) that chooses from a project's releasable images."""

    def __init__(self, platform: Platform, config: ProjectConfig, select: SelectionConfig) -> None:
        """Create a selection with the settings `select`. Read the channels if the settings limit images per channel."""
        self._platform = platform
        self._config = config
        self._select = select
        videos = find_videos(platform.database, project=config.name) if select.max_per_channel else []
        self._channel_of = {row.key: row.channel_id or row.channel or "" for row in videos}
        self.vectors: Float32Array | None = None
        """The (N, D) array of the unit vectors of the last choice's candidates. It is None before the first choice, and
        if the settings use no distances."""

    @property
    def settings(self) -> Mapping[str, object]:
        """The settings and fingerprints that the choice depends on, besides the images and their boxes."""
        settings: dict[str, object] = {"select": self._select.model_dump(mode="json", exclude_none=True)}
        if self._select.diverse:
            settings["encoder"] = self._platform.models.dedup_encoder.fingerprint
        if self._channel_of:
            settings["channels"] = fingerprint_of(self._channel_of)
        return settings

    def choose(self, candidates: Candidates) -> npt.NDArray[np.bool_]:
        """Return an (N,) bool array that is True for the chosen candidates, and set `vectors`.

        Raises:
            VideosLeftOutError: the settings use distances, and frames of videos are missing or unreadable.
        """
        select, releasing = self._select, self._config.releasing
        priorities = candidates.similarities
        if select.uncertain or select.diverse:
            names = list(self._config.detection.classes)
            thresholds = np.array([releasing.threshold_of(name) for name in names], np.float32)
            boxes = (candidates.box_offsets, candidates.box_classes, candidates.box_confidences)
            priorities = uncertainties(*boxes, thresholds) * np.float32(select.uncertain)
        self.vectors = self._read_vectors(candidates) if select.diverse else None
        pool = Pool(priorities, candidates.box_offsets, candidates.box_classes, self.vectors)
        return choose_images(
            pool,
            select.count,
            num_classes=len(self._config.detection.classes) if select.balance == "class" else 0,
            limits=list(self._limits(candidates)),
        )

    def _limits(self, candidates: Candidates) -> Iterator[GroupLimit]:
        lengths = np.diff(candidates.video_offsets)
        if self._select.max_per_video is not None:
            yield GroupLimit(np.repeat(np.arange(len(lengths)), lengths), self._select.max_per_video)
        if self._select.max_per_channel is not None:
            names = [self._channel_of.get(key) or f"video {key}" for key in candidates.video_keys]
            _, codes = np.unique(np.array(names, np.str_), return_inverse=True)
            yield GroupLimit(np.repeat(codes, lengths), self._select.max_per_channel)

    def _read_vectors(self, candidates: Candidates) -> Float32Array:
        """Return an (N, D) array of the candidates' unit vectors, projected to fewer dimensions.

        The stored vectors have more dimensions, so only some of them are in memory at a time.
        """
        keys = np.repeat(np.array(candidates.video_keys, np.str_), np.diff(candidates.video_offsets))
        parts = []
        for start in range(0, len(keys), _FRAMES_AT_ONCE):
            rows = slice(start, start + _FRAMES_AT_ONCE)
            frames = pa.table({"video_key": keys[rows], "frame_index": candidates.frame_indices[rows]})
            stored = read_frame_vectors(self._platform, self._platform.models.dedup_encoder, frames)
            parts.append(projected(stored.astype(np.float32)))
        return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def selection_of(platform: Platform, config: ProjectConfig) -> ProjectSelection | None:
    """Return the selection that a project's `releasing.select` configures, or None if all images are released."""
    select = config.releasing.select
    return None if select is None else ProjectSelection(platform, config, select)


@dataclass(frozen=True, slots=True)
class Selected:
    """The result of a selection from the images that the project can currently release."""

    num_candidates: int
    frame_ids: tuple[str, ...]
    """The chosen frames, in order of video and time."""
    num_videos: int
    """The number of videos with a chosen image."""
    images_by_class: Mapping[str, tuple[int, int]]
    """For each class, how many of the chosen images and how many of all candidates have an object of the class."""
    most_of_a_video: int
    """The largest number of images chosen from one video."""
    covering_radius: float | None
    """The greatest distance (1 minus the cosine) from any image to its nearest chosen image, computed from projected
    vectors. It is None if the selection uses no distances or chooses no image."""
    radius_of_random: float | None
    """The covering radius of an equal number of randomly chosen images. It is None if `covering_radius` is None."""

    def as_json(self) -> dict[str, Any]:
        """Return the result as a JSON-compatible dict."""
        return asdict(self)


def try_selection(platform: Platform, project: str, select: SelectionConfig) -> Selected:
    """Return the result of a selection from the images that a project can currently release. Nothing is stored.

    Raises:
        ConfigError: the project does not exist, or `releasing.fixed_splits` names an unknown video.
        NotReadyError: a stage before releasing has not run.
        OutOfDateError: a stage before releasing is out of date.
        VideosLeftOutError: frames of videos are missing or unreadable.
    """
    config = platform.project_config(project)
    source = ReleaseSource(platform, project, config, labelling_of(platform, config))
    columns = CandidateColumns()
    decided = decided_splits(platform, config, read_manifests(platform, project))
    found = videos_with_images(source, columns, FrameTally(), decided)
    _, splits = split_videos(config.releasing, source, found, decided)
    candidates = columns.candidates(splits).where(found.is_in_a_split(splits))
    selection = ProjectSelection(platform, config, select)
    is_chosen = selection.choose(candidates)
    frames = chosen_frames(candidates, is_chosen)
    names = list(config.detection.classes)
    owners = np.repeat(np.arange(len(is_chosen)), np.diff(candidates.box_offsets))
    by_class = {
        name: np.unique(owners[candidates.box_classes == class_index]) for class_index, name in enumerate(names)
    }
    radii = _radii(selection.vectors, is_chosen) if selection.vectors is not None and is_chosen.any() else (None, None)
    return Selected(
        num_candidates=len(is_chosen),
        frame_ids=tuple(make_frame_id(key, index) for key, indices in frames.items() for index in indices.tolist()),
        num_videos=len(frames),
        images_by_class={name: (int(np.count_nonzero(is_chosen[rows])), len(rows)) for name, rows in by_class.items()},
        most_of_a_video=max(map(len, frames.values()), default=0),
        covering_radius=radii[0],
        radius_of_random=radii[1],
    )


def _radii(vectors: Float32Array, is_chosen: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the covering radii of a choice and of a random choice of equal size."""
    drawn = np.random.default_rng(0).permutation(len(is_chosen))[: int(np.count_nonzero(is_chosen))]
    return covering_radius(vectors, np.flatnonzero(is_chosen)), covering_radius(vectors, drawn)
