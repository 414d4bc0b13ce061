"""Compare a candidate's pictures with the project's prompts before the video is downloaded (pre-screening)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate

import numpy as np

from data_miner_dagster.catalog.prescreening import PictureScore, read_scores, save_score
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.addresses import LocalPath, address_of, host_of
from data_miner_dagster.domain.errors import SourceError, UnreadableImageError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.object_urls import ObjectUrl
from data_miner_dagster.domain.records import Rejection, RgbImage, VideoCandidate
from data_miner_dagster.operations.exemplars import Exemplar, exemplar_basis, exemplars_of
from data_miner_dagster.operations.foreign.media_workers import MediaWorkers, media_workers
from data_miner_dagster.operations.foreign.site_workers import SiteWorkers
from data_miner_dagster.operations.item_faults import ItemFault, item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.politeness import PostponedError
from data_miner_dagster.operations.prompts import picture_encoder, score_prompts
from data_miner_dagster.sites.keys import site_of_key
from data_miner_dagster.sites.records import Picture
from data_miner_dagster.stages.embedding import embed_images
from data_miner_dagster.stages.sourcing import prescreening_rejection, spread_over

logger = logging.getLogger(__name__)


def prescreen(
    platform: Platform,
    client: SiteWorkers,
    project: str,
    config: ProjectConfig,
    candidates: Sequence[VideoCandidate],
) -> dict[str, Rejection]:
    """Return the rejections of candidates without a picture that is similar enough to a positive prompt, by video key.

    Similarities are stored, and recomputed only if an encoder, the prompts, their exemplars or the choice of pictures
    has changed. A candidate passes if it has no pictures or they cannot be fetched, because that says nothing about
    the video.

    Raises:
        ConfigError: an exemplar of a positive prompt is missing or cannot be read.
        ModelError: an encoder is missing or cannot be loaded.
        SystematicFaultError, OutageError: all candidates (three or more), or ten in a row, cause the same internal
            error.
    """
    threshold = threshold_of(platform, config)
    exemplars = exemplars_of(platform, project, config.filtering)
    stored = read_scores(platform.database, project, fingerprint_of_prescreening(platform, config, exemplars))
    rejections = {}
    with media_workers(platform.config.downloading) as media, item_guard("prescreening") as guard:
        for candidate in candidates:
            key = candidate.video_key
            if key not in stored:
                look = partial(_score, platform, client, media, project, config, candidate)
                scored = guard.attempt(key, look, _pass_over)
                if scored is None:
                    continue
                stored[key] = scored
            score = stored[key]
            if (rejection := prescreening_rejection(score.similarity, score.prompt, threshold)) is not None:
                rejections[key] = rejection
    return rejections


def _pass_over(_fault: ItemFault) -> None:
    """Do nothing: a candidate passes if its pictures could not be compared, and the guard logs the reason."""


def threshold_of(platform: Platform, config: ProjectConfig) -> float:
    """Return the similarity that a candidate's best picture must reach."""
    prescreening, encoder = config.sourcing.prescreening, platform.models.filter_encoder
    if prescreening.threshold is not None:
        return prescreening.threshold
    wanted = config.filtering.positive_threshold
    if isinstance(wanted, Mapping):
        wanted = wanted.get(encoder.name)
    if wanted is None:
        wanted = encoder.calibration.positive_threshold
    return wanted - prescreening.slack


def fingerprint_of_prescreening(
    platform: Platform, config: ProjectConfig, exemplars: Mapping[str, Sequence[Exemplar]]
) -> str:
    """Return the fingerprint of the inputs to a stored similarity: encoder, prompts, exemplars and picture choice."""
    return fingerprint_of(
        {
            "encoder": platform.models.filter_encoder.fingerprint,
            "positive": list(config.filtering.texts_of("positive")),
            "templates": list(config.filtering.templates),
            **exemplar_basis(platform.models, config.filtering, exemplars),
            "max_pictures": config.sourcing.prescreening.max_pictures,
            "storyboards": config.sourcing.prescreening.storyboards,
        }
    )


def _score(
    platform: Platform,
    client: SiteWorkers,
    media: MediaWorkers,
    project: str,
    config: ProjectConfig,
    candidate: VideoCandidate,
) -> PictureScore | None:
    images = list(_images(client, media, candidate, config))
    if not images:
        return None
    prompts = config.filtering.texts_of("positive")
    vectors = embed_images(platform.models.filter_encoder.load(), images)
    beside = picture_encoder(platform.models, config.filtering)
    exemplars = exemplars_of(platform, project, config.filtering)
    similarities = score_prompts(platform, config.filtering, prompts, exemplars).similarities(
        vectors, None if beside is None else embed_images(beside.load(), images)
    )
    best = int(np.argmax(similarities.max(axis=0)))
    score = PictureScore(float(similarities[:, best].max()), prompts[best], len(images))
    fingerprint = fingerprint_of_prescreening(platform, config, exemplars)
    save_score(platform.database, project, candidate.video_key, score, fingerprint)
    return score


def _images(
    client: SiteWorkers, media: MediaWorkers, candidate: VideoCandidate, config: ProjectConfig
) -> Iterator[RgbImage]:
    prescreening = config.sourcing.prescreening
    pictures = [Picture(candidate.thumbnail_url)] if candidate.thumbnail_url else []
    site = site_of_key(candidate.video_key) or host_of(candidate.url)
    try:
        address = address_of(candidate.origin, candidate.url)
        if prescreening.storyboards and not isinstance(address, LocalPath | ObjectUrl):
            pictures = client.pictures_of(candidate.video_key, address, with_storyboards=True) or pictures
        sizes = [picture.rows * picture.columns for picture in pictures]
        wanted = spread_over(sum(sizes), prescreening.max_pictures)
        for picture, size, start in zip(pictures, sizes, accumulate(sizes, initial=0), strict=False):
            here = [position - start for position in wanted if start <= position < start + size]
            if here:
                content = client.fetch_picture(site, picture.url)
                yield from media.see(content, rows=picture.rows, columns=picture.columns, wanted=here)
    except (SourceError, PostponedError, UnreadableImageError, ValueError) as error:
        logger.info(
            "%s: at least one picture of this candidate could not be examined (%s); the candidate is judged by the "
            "pictures examined before, and passes if there are none",
            candidate.video_key,
            error,
        )
