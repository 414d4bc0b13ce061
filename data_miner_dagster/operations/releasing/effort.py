"""Compute the cost of a release in machine-independent units, such as the number of videos and boxes.

Apart from prices, the cost depends only on the project's rows and tables, not on the work done in this root. A rebuilt
release repeats the prices in its manifest, and therefore states the same cost. Does not belong here: the measured time
and bytes (operations/reporting/costs.py).
"""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from data_miner_dagster.catalog.videos import find_video, find_videos
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.config.tracking import TrackingConfig
from data_miner_dagster.domain.keys import has_foreign_pictures, split_frame_id
from data_miner_dagster.export.effort import EFFORT_KEY
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.planning import Choice
from data_miner_dagster.operations.reporting.funnel import Funnel, FunnelStep
from data_miner_dagster.operations.verification.verify_boxes import VerificationCounts, read_verification
from data_miner_dagster.stages.detection.windows import num_looks
from data_miner_dagster.storage.frames import has_frames, read_frames
from data_miner_dagster.storage.tables import read_rows


def effort_of(
    platform: Platform,
    config: ProjectConfig,
    funnel: Funnel,
    replaced: Mapping[str, Any] | None,
    choice: Choice | None,
) -> dict[str, Any] | None:
    """Return the cost of a release, or None if the release must not state a cost.

    The result lacks `labels_size_bytes`, which `write_release` adds.

    Args:
        platform: the platform of one root.
        config: the project's configuration.
        funnel: the counts after each stage.
        replaced: the manifest of a release to reproduce byte for byte, or None for a new release. The result repeats
            the manifest's prices, or is None if the manifest states no cost.
        choice: the images that `releasing.select` chose, or None if the project selects none.
    """
    if replaced is not None and EFFORT_KEY not in replaced:
        return None
    fetched = [video for video in find_videos(platform.database, project=config.name) if video.size_bytes is not None]
    seconds = sum(video.duration_seconds or 0.0 for video in sorted(fetched, key=lambda video: video.key))
    effort: dict[str, Any] = {
        "num_videos": len(fetched),
        "videos_size_bytes": sum(video.size_bytes or 0 for video in fetched),
        "videos_seconds": round(seconds, 3),
        "num_frames": funnel[FunnelStep.FRAMES].count or 0,
        "models": list(_models(platform, config, funnel, choice.num_candidates if choice else 0)),
    }
    if config.detection.tracking is not None:
        effort["num_pictures_around"] = _num_pictures_around(platform, config.name, config.detection.tracking)
    verification = read_verification(platform.layout.detected_frames_table(config.name))
    if verification is not None:
        before = None if replaced is None else replaced[EFFORT_KEY].get("verifier")
        effort["verifier"] = _verifier(platform, verification, before)
    return effort


def _models(platform: Platform, config: ProjectConfig, funnel: Funnel, num_candidates: int) -> list[dict[str, object]]:
    models = platform.models
    counts = {step: funnel[step].count or 0 for step in (FunnelStep.FRAMES, FunnelStep.FILTERED, FunnelStep.DETECTED)}
    found = [("frame filter", models.filter_encoder.name, counts[FunnelStep.FRAMES])]
    by_use = {
        "exemplars": counts[FunnelStep.FRAMES],
        "near-duplicates": counts[FunnelStep.FILTERED],
        "image selection": num_candidates,
    }
    for use in config.uses_of_dedup_encoder[:1]:  # later uses have fewer images, which are embedded by then
        found.append((use, models.dedup_encoder.name, by_use[use]))
    detectors = models.detectors(config.detection.detectors)
    found += [("detector", one.name, counts[FunnelStep.DETECTED]) for one in detectors]
    return [{"role": role, "name": name, "num_images": number} for role, name, number in found]


def _num_pictures_around(platform: Platform, project: str, config: TrackingConfig) -> int:
    """Return the maximum number of pictures around examined frames that tracking decodes and examines.

    Folders of pictures and videos without stored frames are not counted.
    """
    frame_ids = (row["frame_id"] for row in read_rows(platform.layout.detected_frames_table(project), ["frame_id"]))
    number = 0
    for video_key, places in groupby(map(split_frame_id, frame_ids), key=lambda place: place[0]):
        indices = {frame_index for _, frame_index in places}
        video = find_video(platform.database, video_key)
        if video is None or has_foreign_pictures(video_key) or not has_frames(platform.layout, video_key):
            continue
        frames = read_frames(platform.layout, video_key, ["frame_index", "pts_seconds"]).to_pylist()
        times = [frame["pts_seconds"] for frame in frames if frame["frame_index"] in indices]
        number += num_looks(times, video.duration_seconds, config)
    return number


def _verifier(
    platform: Platform, verification: VerificationCounts, before: Mapping[str, Any] | None
) -> dict[str, object]:
    num_boxes = verification.confirmed + verification.rejected + verification.cannot_tell
    said: dict[str, object] = {"name": verification.verifier, "num_boxes": num_boxes}
    if any(verification.num_tokens) and (before is None or "num_tokens" in before):
        said["num_tokens"] = list(verification.num_tokens)
    if before is not None:
        return said | {name: value for name, value in before.items() if name.startswith("price")}
    endpoint = platform.config.models.endpoints.get(verification.verifier)
    if endpoint is None or not endpoint.is_priced:
        return said
    if endpoint.price_per_box is not None:
        return said | {"price_per_box": endpoint.price_per_box}
    prices = [endpoint.price_per_million_input_tokens, endpoint.price_per_million_output_tokens]
    return said | {"price_per_million_tokens": prices}
