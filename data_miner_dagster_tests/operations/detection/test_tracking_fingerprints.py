"""Test which settings for following objects are part of the fingerprint of a project's boxes."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.config.tracking import TrackingConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.versions import TRACKING_VERSION
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.detection.following import tracking_settings
from data_miner_dagster.operations.detection.sessions import SESSIONS_VERSION
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.support.models import PlantedModels
from data_miner_dagster_tests.support.moving_shapes import AttentiveTracker

BOXES_ALONE: Final = {
    "every_seconds": 0.25,
    "flicker_factor": 0.25,
    "min_sightings": 3,
    "recover": True,
    "same_object_iou": 0.5,
    "start_confidence": 0.2,
    "whole_clip": False,
    "window_seconds": 1.0,
}
"""ByteTrack's default settings. An additional key would make the tables of existing projects stale."""


def settings(platform: Platform, **tracking: Any) -> dict[str, object]:
    config = DetectionConfig.model_validate({"classes": {"bus": []}, "tracking": tracking})
    return dict(tracking_settings(platform, config))


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    trackers = [AttentiveTracker("one"), AttentiveTracker("two"), AttentiveTracker("newer", fingerprint="2")]
    return Platform(PlatformConfig(), tmp_path, models=PlantedModels(trackers=trackers))


def test_tracking_settings__of_byte_track_have_nothing_of_sam3(platform: Platform) -> None:
    expected = {"tracking": BOXES_ALONE, "tracking_version": TRACKING_VERSION}
    assert settings(platform) == expected
    assert fingerprint_of(settings(platform)) == fingerprint_of(expected)
    assert settings(platform, tracker="byte_track", tracker_model="two", keep_windows=False) == expected
    config = DetectionConfig.model_validate({"classes": {"bus": []}})
    assert tracking_settings(platform, config) == {}, "a project without tracking is not stale when tracking changes"


def test_tracking_settings__of_sam3_have_the_tracker_and_its_model(platform: Platform) -> None:
    assert settings(platform, tracker="sam3", tracker_model="one") == {
        "tracking": BOXES_ALONE,
        "tracking_version": TRACKING_VERSION,
        "tracker": "sam3",
        "tracker_model": "1",
        "sessions_version": SESSIONS_VERSION,
    }
    of = {name: settings(platform, tracker="sam3", tracker_model=name) for name in ("one", "two", "newer")}
    assert of["one"] == of["two"], "a name is not a result"
    assert of["newer"] != of["one"]


def test_tracking_settings__of_sam3_have_its_revision() -> None:
    entry = ModelProvider(ModelsConfig()).video_tracker(TrackingConfig().tracker_model).entry
    assert entry.revision is not None
    assert replace(entry, revision="0" * 40).fingerprint != entry.fingerprint
