"""Find similar images in different splits, by perceptual hash and by an encoder that deduplication does not use.

Every pair of images in different splits is compared, so the time grows with the square of the number of images.
Memory use does not, because two blocks are compared at a time, and large sets of vectors are kept in a temporary file.
"""

import tempfile
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.config.releasing import ReleasingConfig
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import PermanentError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.export.rows import read_whole_table
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.deduplication.verdicts import pair_verdicts
from data_miner_dagster.operations.embedding.vectors import read_frame_vectors
from data_miner_dagster.operations.foreign.stored_pictures import remedy_for_image
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.standing import existing_version
from data_miner_dagster.stages.deduplication.appearances import telling_hashes
from data_miner_dagster.stages.splitting.leaks import ComparedImages, Leak, LeakLimits, LeakTally, find_leaks
from data_miner_dagster.storage.alignment import rows_of_ids
from data_miner_dagster.storage.by_video import runs_of
from data_miner_dagster.storage.frames import has_frames, read_frames

DEFAULT_HASH_DISTANCE: Final = 6
"""The maximum distance between the perceptual hashes of similar images, in bits (of 64). By default, deduplication
treats frames up to 4 bits apart as duplicates. Hashes of unrelated images differ in about 32 bits."""
_COLUMNS: Final = ("frame_id", "video_key", "frame_index", "pts_seconds", "split")
_PART: Final = 20_000  # vectors read at once; up to this many stay in memory
_MAX_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class LeakCheck:
    """The result of `check_leaks` for one release."""

    version: str
    encoder: str | None  # the encoder that deduplication does not use, or None if both encoders are the same model
    limits: LeakLimits
    tally: LeakTally
    named: tuple[str, ...]  # the most similar pairs, as text

    @property
    def holds(self) -> bool:
        """True if no images from different videos and splits look alike, apart from pairs judged to be different."""
        return not self.tally.num_leaks

    @property
    def limits_in_short(self) -> str:
        """The limits within which two images count as similar, in a few words."""
        cosine = "" if self.encoder is None else f"; cosine {self.limits.cosine:.3g} by {self.encoder}"
        return f"{self.limits.hash_distance} of 64 bits{cosine}"

    @property
    def limits_text(self) -> str:
        """The limits within which two images count as similar, as a phrase for a sentence."""
        text = f"perceptual hashes at most {self.limits.hash_distance} of 64 bits apart"
        if self.encoder is None:
            return text
        return f"{text} and a cosine of at least {self.limits.cosine:.3g} by {self.encoder}"

    @property
    def description(self) -> str:
        """One line for the user: the number of leaks and, if there are any, the most similar pairs and the remedy."""
        line = (
            f"release {self.version}: {self.tally.num_leaks:,} of "
            f"{counted(self.tally.num_pairs, 'pair of images', 'pairs of images')} in "
            f"different splits look alike ({self.limits_text})"
        )
        if self.holds:
            return line
        cosine = "" if self.encoder is None else "raise releasing.leak_cosine or "
        return (
            f"{line}: {'; '.join(self.named[:_MAX_NAMED])}; remove one video of each pair from the project, give both "
            f"videos the same split (releasing.fixed_splits), or, if the images differ, {cosine}lower "
            "releasing.leak_hash_distance"
        )


def check_leaks(platform: Platform, project: str, version: str | None = None) -> LeakCheck:
    """Compare every image of a release with the images in other splits, and count the pairs that look alike.

    Pairs from one video, and pairs that people judged to be different, do not count as leaks.

    Args:
        platform: the platform of one root.
        project: the name of the project.
        version: the version of the release, or None for the current one.

    Raises:
        ConfigError: the project or release does not exist.
        DataMinerError: the release's table of images is damaged, or frames of the release are missing or cannot be
            embedded.
    """
    config = platform.project_config(project)
    version = existing_version(platform, project, version)
    released = read_whole_table(images_table(platform.layout.release_folder(project, version)), _COLUMNS)
    released = released.take(pc.sort_indices(released, [("split", "ascending"), ("frame_id", "ascending")]))
    encoder = _other_encoder(platform, config)
    limits = _limits(config.releasing, encoder)
    images = _compared_images(platform, config, encoder, released)
    tally = find_leaks(images, limits, pair_verdicts(platform, project).different_rows(released))
    named = tuple(_named(leak, released) for leak in tally.closest)
    return LeakCheck(version, encoder.name if encoder else None, limits, tally, named)


def _other_encoder(platform: Platform, config: ProjectConfig) -> EncoderRole | None:
    """Return the encoder that deduplication does not use for near-duplicates, or None if both roles share a model."""
    by_role = {"filter": platform.models.filter_encoder, "dedup": platform.models.dedup_encoder}
    used = by_role.pop(config.deduplication.encoder)
    (other,) = by_role.values()
    return None if other.fingerprint == used.fingerprint else other


def _limits(releasing: ReleasingConfig, encoder: EncoderRole | None) -> LeakLimits:
    distance, cosine = releasing.leak_hash_distance, releasing.leak_cosine
    if cosine is None:  # stricter than this encoder's threshold for near-duplicates, because a failure stops a run
        cosine = 1.0 if encoder is None else (1 + encoder.calibration.duplicate_threshold) / 2
    return LeakLimits(DEFAULT_HASH_DISTANCE if distance is None else distance, cosine)


def _compared_images(
    platform: Platform, config: ProjectConfig, encoder: EncoderRole | None, released: pa.Table
) -> ComparedImages:
    hashes, contrast = _hashes_and_contrast(platform, config.name, released)
    return ComparedImages(
        split_codes=_codes(released["split"]),
        video_codes=_codes(released["video_key"]),
        hashes=hashes,
        is_telling=telling_hashes(hashes, contrast, config.deduplication.perceptual_hash_minimum_contrast),
        vectors=None if encoder is None else _vectors(platform, encoder, released),
    )


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Return an (N,) array with an integer code for each value, assigned in order of first appearance.

    The codes ascend if equal values are adjacent.
    """
    codes = column.combine_chunks()
    codes = codes if pa.types.is_dictionary(codes.type) else codes.dictionary_encode()
    return np.asarray(codes.indices.to_numpy(), np.int64)


def _hashes_and_contrast(
    platform: Platform, project: str, released: pa.Table
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.float32]]:
    hashes, contrast = np.empty(len(released), np.uint64), np.empty(len(released), np.float32)
    for video_key, start, stop in runs_of(released["video_key"].combine_chunks()):
        if not has_frames(platform.layout, video_key):
            raise PermanentError(f"the frames of {video_key} are missing; {remedy_for_image(project, video_key)}")
        frames = read_frames(platform.layout, video_key, ["frame_id", "perceptual_hash", "contrast"])
        wanted = released["frame_id"].slice(start, stop - start)
        rows = rows_of_ids(
            wanted,
            frames["frame_id"],
            table=f"frames.parquet of {video_key}",
            remedy="run `data-miner run --config FILE` to build a new release",
        )
        hashes[start:stop] = frames["perceptual_hash"].to_numpy()[rows]
        contrast[start:stop] = frames["contrast"].to_numpy()[rows]
    return hashes, contrast


def _vectors(platform: Platform, encoder: EncoderRole, released: pa.Table) -> npt.NDArray[np.float16]:
    if len(released) <= _PART:
        return read_frame_vectors(platform, encoder, released)
    vectors: npt.NDArray[np.float16] | None = None
    for start in range(0, len(released), _PART):
        part = read_frame_vectors(platform, encoder, released.slice(start, _PART))
        if vectors is None:
            with tempfile.TemporaryFile(dir=platform.layout.root) as file:  # the mapping keeps the unnamed file open
                vectors = np.memmap(file, np.float16, "w+", shape=(len(released), part.shape[1]))
        vectors[start : start + len(part)] = part
    assert vectors is not None
    return vectors


def _named(leak: Leak, released: pa.Table) -> str:
    one, other = (f"{released['frame_id'][row]} ({released['split'][row]})" for row in (leak.one, leak.other))
    figures = [f"cosine {leak.cosine:.3f}"] if leak.cosine is not None else []
    figures.append(f"{leak.hash_distance} bits")
    return f"{one} and {other}: {', '.join(figures)}"
