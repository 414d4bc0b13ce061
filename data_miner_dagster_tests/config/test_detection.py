import pytest
from pydantic import ValidationError

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.records import ClassPrompts


def test_class_prompts__name_stands_for_itself() -> None:
    config = DetectionConfig.model_validate({"classes": {"bus": [], "car": ["a car", "taxi cab"]}})
    assert config.class_prompts == (ClassPrompts("bus", ("bus",)), ClassPrompts("car", ("a car", "taxi cab")))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "classes"),
        ({"classes": {}}, "at least 1"),
        ({"classes": {" ": []}}, "at least 1 character"),
        ({"classes": {"car": [""]}}, "at least 1 character"),
        ({"classes": {"car": ["Taxi"], "taxi": []}}, "'taxi' stands for both 'car' and 'taxi'"),
        ({"classes": {"car": []}, "detectors": ["a", "a"]}, "names one twice"),
        ({"classes": {"car": []}, "detectors": ["a", "b", "c", "d"]}, "at most 3"),
        ({"classes": {"car": []}, "confidence_floor": 1.1}, "confidence_floor"),
        ({"classes": {"car": []}, "tiling": {"overlap": 1}}, "overlap"),
        ({"classes": {"car": []}, "detector": "a"}, "Extra inputs"),
    ],
)
def test_detection_config__mistakes(section: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectionConfig.model_validate(section)
