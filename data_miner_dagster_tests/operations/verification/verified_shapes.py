"""A project of red and blue shapes, with a loopback endpoint that sees colours as the verifier."""

from pathlib import Path
from typing import Any

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.operations.detection.planted_boxes import BLUE, RED
from data_miner_dagster_tests.support.chat_server import ChatServer, answer_text
from data_miner_dagster_tests.support.coloured_shapes import (
    ColourDetector,
    Shape,
    plant_deduplicated,
    plant_frames,
    set_detection,
    set_stage,
)
from data_miner_dagster_tests.support.models import PlantedModels

ENDPOINT = {"model": "eyes", "api_key": "env:EYES_KEY", "try_delay_seconds": 0.005, "timeout_seconds": 5, "tries": 3}
VERIFIER = {"model": "eyes", "min_confidence": 0.001, "margin": 0}


def sees_colours(rgb: RgbImage, prompt: str) -> str:
    """Return an answer that confirms a shape if its middle has the colour in the prompt, and rejects it otherwise."""
    red, _, blue = (int(value) for value in rgb[rgb.shape[0] // 2, rgb.shape[1] // 2])
    colour = "red" if red > blue else "blue"
    is_asked = f"picture: {colour}?" in prompt
    return answer_text("confirmed" if is_asked else "rejected", f"it is {colour}")


def platform_with(root: Path, url: str, *detectors: ColourDetector, **endpoint: Any) -> Platform:
    """Return a platform with an endpoint called `eyes`."""
    config = PlatformConfig.model_validate(
        {
            "downloading": {"allowed_private_hosts": ["127.0.0.1"]},
            "models": {"endpoints": {"eyes": {**ENDPOINT, "url": url, **endpoint}}},
        }
    )
    return Platform(config, root, models=PlantedModels(detectors=detectors or (ColourDetector(),)))


def verified_project(
    root: Path, chat: ChatServer, *, verifier: dict[str, Any] | None = None, num_more: int = 0, **endpoint: Any
) -> Platform:
    """Return a project of two videos on which nothing has been detected yet.

    The frames of video a show red; red and blue; nothing; then red and blue `num_more` times. Video b shows blue.
    """
    platform = platform_with(root, chat.url, **endpoint)
    set_detection(platform, batch_size=2, verifier={**VERIFIER, **(verifier or {})})
    set_stage(platform, ProjectStage.DETECTION_READY)
    more: list[list[Shape]] = [
        [("red", (2, 8 + row, 17, 31 + row)), ("blue", (40, 16 + row, 47, 23 + row))] for row in range(1, num_more + 1)
    ]
    plant_frames(platform, "files-a", [[RED], [RED, BLUE], [], *more])
    plant_frames(platform, "files-b", [[BLUE]])
    plant_deduplicated(platform, {"files-a": range(3 + num_more), "files-b": [0]}, duplicates={})
    return platform
