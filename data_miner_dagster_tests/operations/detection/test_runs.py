import numpy as np

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.operations.detection.runs import detect_tiled
from data_miner_dagster_tests.support.coloured_shapes import ColourDetector

TILED = DetectionConfig.model_validate(
    {"classes": {"red": []}, "confidence_floor": 0.0001, "tiling": {"side": 64, "include_whole_frame": False}}
)


def test_detect_tiled__no_images() -> None:
    assert detect_tiled(ColourDetector(), [], TILED, TILED.class_prompts) == []


def test_detect_tiled__objects_on_the_seam_are_found_once() -> None:
    detector = ColourDetector()
    image = np.full((64, 160, 3), 128, np.uint8)
    image[10:20, 50:70] = (255, 0, 0)  # the tiles cover 0..64, 48..112 and 96..160
    (found,) = detect_tiled(detector, [image], TILED, TILED.class_prompts)
    assert found.boxes_xyxy.tolist() == [[50, 10, 70, 20]]
