"""Compute similarities.parquet: the similarities of stored frame embeddings to prompts.

While the encoder, prompts and exemplars stay the same, only videos whose embeddings have changed are compared again.
Other videos' rows are copied from the existing table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.versions import SCORING_VERSION
from data_miner_dagster.models.provider import EncoderRole
from data_miner_dagster.operations.exemplars import exemplar_scale, hashes_of
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.left_out import VideosLeftOutError
from data_miner_dagster.operations.members import MemberFrames
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import Steps
from data_miner_dagster.operations.prompts import WantedPrompts, picture_encoder, score_prompts
from data_miner_dagster.stages.filtering.exemplars import PromptScores
from data_miner_dagster.storage.alignment import rows_of_indices
from data_miner_dagster.storage.frames import read_frames
from data_miner_dagster.storage.similarities import (
    FRAME_COLUMNS,
    ScoredVideo,
    SimilaritiesHeader,
    read_header,
    read_videos,
    similarities_of,
    similarities_writer,
)
from data_miner_dagster.storage.tables import read_fingerprint
from data_miner_dagster.storage.vectors import read_embeddings


def similarities_header(
    platform: Platform,
    wanted: WantedPrompts,
    ready: Sequence[MemberFrames],
) -> SimilaritiesHeader:
    """Return the header that the project's table of similarities must have to be current."""
    config, exemplars = wanted.config, wanted.exemplars
    return SimilaritiesHeader(
        encoder_name=platform.models.filter_encoder.name,
        encoder_fingerprint=platform.models.filter_encoder.fingerprint,
        texts=config.texts,
        templates=config.templates,
        videos=tuple(
            ScoredVideo(member.video_key, member.embeddings_fingerprint, member.num_frames) for member in ready
        ),
        exemplars=hashes_of(exemplars),
        exemplar_scale=exemplar_scale(platform.models, config) if exemplars else "",
    )


def similarities_fingerprint(header: SimilaritiesHeader) -> str:
    """Return the fingerprint of the table that `header` describes."""
    return fingerprint_of(
        {
            "version": SCORING_VERSION,
            "encoder": header.encoder_fingerprint,
            "texts": header.texts,
            "templates": header.templates,
            **({"exemplars": [header.exemplars, header.exemplar_scale]} if header.exemplars else {}),
            "videos": [[video.video_key, video.embeddings_fingerprint] for video in header.videos],
        }
    )


def score_project(
    platform: Platform,
    path: Path,
    header: SimilaritiesHeader,
    ready: Sequence[MemberFrames],
    wanted: WantedPrompts,
    *,
    force: bool = False,
) -> int:
    """Update the table of similarities at `path`. Return the number of videos that were compared with the prompts.

    A current table is not rewritten unless `force` is set. The caller must hold the project's claim.

    Raises:
        VideosLeftOutError: frames or embeddings of some videos are unreadable, or changed after the members were
            listed.
        ConfigError: an exemplar cannot be read.
        ModelError: an encoder is needed, but is missing.
        DamagedFileError: the frame table or the embeddings file of a video is damaged.
    """
    faults: dict[str, ItemFault] = {}
    fingerprint = similarities_fingerprint(header)
    if not force and read_fingerprint(path) == fingerprint:
        return 0
    earlier = None if force else read_header(path)
    is_reusable = earlier is not None and read_fingerprint(path) is not None and earlier.has_same_scale(header)
    known = frozenset(earlier.videos) if earlier is not None and is_reusable else frozenset[ScoredVideo]()
    beside = picture_encoder(platform.models, wanted.config)
    if beside is not None:
        # Imported here, as below, because comparing texts does not need OpenCV.
        from data_miner_dagster.operations.embedding.some_frames import ensure_embeddings

        new = [member for member, video in zip(ready, header.videos, strict=True) if video not in known]
        ensure_embeddings(platform, beside, {member.video_key: _frames_with_vectors(member) for member in new})
    carried = _Carried(read_videos(path, earlier) if earlier is not None and is_reusable else iter(()))

    @cache  # called only if a video needs scoring
    def prompts() -> PromptScores:
        return score_prompts(platform, wanted.config, header.texts, wanted.exemplars)

    num_scored = 0
    # One thread: a video's product takes a fraction of a millisecond. If another run uses the cores, threads that wait
    # for each other cost 40 times as much, and the last digits would depend on the number of threads.
    with (
        threadpool_limits(1, user_api="blas"),
        similarities_writer(path, header, fingerprint=fingerprint) as writer,
        _all_or_left_out(faults),
        item_guard("filtered_frames") as guard,
    ):
        steps = Steps("filtering: has compared", "videos", len(ready), platform)
        for member, video in zip(ready, header.videos, strict=True):
            rows = carried.rows_of(video)
            if rows is None:
                score = partial(_score_video, platform, member, video, header.texts, _Scorer(prompts(), beside))
                rows = guard.attempt(video.video_key, score, partial(faults.__setitem__, video.video_key))
                num_scored += 1
            if rows is not None:
                writer.write_video(rows)
            steps.advance()
    return num_scored


@contextmanager
def _all_or_left_out(faults: Mapping[str, ItemFault]) -> Iterator[None]:
    """Raise a VideosLeftOutError at the end of the block if there are faults, so that no incomplete table is stored."""
    yield
    if faults:
        raise VideosLeftOutError(faults)


class _Carried:
    """Reads the earlier table in step with the new one, by video key. One row group is in memory at a time."""

    def __init__(self, videos: Iterator[tuple[ScoredVideo, pa.Table]]) -> None:
        self._videos = videos
        self._next = next(videos, None)

    def rows_of(self, wanted: ScoredVideo) -> pa.Table | None:
        """Return a video's rows, or None if they are missing or were made from other embeddings.

        The videos must be requested in order of their keys.
        """
        while self._next is not None and self._next[0].video_key < wanted.video_key:
            self._next = next(self._videos, None)
        if self._next is None or self._next[0] != wanted:
            return None
        return self._next[1]


def _frames_with_vectors(member: MemberFrames) -> Sequence[int]:
    """Return the indices of a member's embedded frames, or an empty list if the member has no embeddings file."""
    stored = read_embeddings(member.embeddings_file)
    return [] if stored is None else stored.frame_indices.tolist()


@dataclass(frozen=True, slots=True)
class _Scorer:
    """The prompts to compare frames with. `beside` is a separate encoder for exemplars, or None if it is not needed."""

    prompts: PromptScores
    beside: EncoderRole | None


def _score_video(
    platform: Platform, member: MemberFrames, video: ScoredVideo, texts: Sequence[str], scorer: _Scorer
) -> pa.Table:
    frames = read_frames(platform.layout, video.video_key, FRAME_COLUMNS)
    stored = read_embeddings(member.embeddings_file)
    if stored is None or stored.fingerprint != video.embeddings_fingerprint or frames.num_rows != video.num_frames:
        raise DataMinerError(
            f"the frames or embeddings of video {video.video_key} changed while its project was being filtered; run "
            "`data-miner run --config FILE` to filter the project again"
        )
    similarities = np.full((video.num_frames, len(texts)), np.nan, np.float16)
    if len(stored.frame_indices):
        rows = rows_of_indices(
            stored.frame_indices,
            frames.column("frame_index").to_numpy(),
            table=f"frames.parquet of {video.video_key}",
            remedy="run `data-miner backfill --asset frames --project PROJECT --force --keys-file FILE`, where FILE "
            f"contains {video.video_key}",
        )
        pictures = None
        if scorer.beside is not None:
            from data_miner_dagster.operations.embedding.some_frames import load_vectors

            pictures = load_vectors(platform, scorer.beside, video.video_key, stored.frame_indices.tolist())
        similarities[rows] = scorer.prompts.similarities(stored.vectors.astype(np.float32), pictures)
    return similarities_of(frames, texts, similarities)
