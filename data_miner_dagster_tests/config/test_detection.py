import pytest
from pydantic import ValidationError

from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.domain.records import ClassPrompts


def test_class_prompts__name_stands_for_itself() -> None:
    config = DetectionConfig.model_validate({"classes": {"bus": [], "car": ["a car", "taxi cab"]}})
    assert config.class_prompts == (ClassPrompts("bus", ("bus",)), ClassPrompts("car", ("a car", "taxi cab")))


def test_class_prompts__pictures_alone_or_beside_phrases() -> None:
    box = [1, 2, 30.5, 40]
    config = DetectionConfig.model_validate(
        {
            "classes": {
                "part 7731": {"images": ["one.jpg", {"path": "two.jpg", "boxes": [box, [0, 0, 9, 9]]}]},
                "car": {"text": ["a car"], "images": ["car.jpg"]},
                "bus": {"text": []},
            }
        }
    )
    assert config.class_prompts == (
        ClassPrompts("part 7731", ()),
        ClassPrompts("car", ("a car",)),
        ClassPrompts("bus", ("bus",)),
    )
    assert config.exemplar_paths == {"part 7731": ("one.jpg", "two.jpg"), "car": ("car.jpg",)}
    assert [image.boxes for image in config.classes["part 7731"].images] == [(), ((1, 2, 30.5, 40), (0, 0, 9, 9))]
    assert DetectionConfig.model_validate(config.model_dump(mode="json")) == config


def test_detection_config__without_images_classes_are_written_as_before() -> None:
    config = DetectionConfig.model_validate({"classes": {"bus": [], "car": {"text": ["a car"]}}})
    assert config.model_dump(mode="json")["classes"] == {"bus": [], "car": ["a car"]}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "classes"),
        ({"classes": {}}, "at least 1"),
        ({"classes": {" ": []}}, "a name is empty"),
        ({"classes": {"bus\ncar": []}}, "contains a line break"),
        ({"classes": {"car": [""]}}, "at least 1 character"),
        ({"classes": {"car": ["Taxi"], "taxi": []}}, "'taxi' is used for both 'car' and 'taxi'"),
        ({"classes": {"car": []}, "detectors": ["a", "a"]}, "contains a name twice"),
        ({"classes": {"car": []}, "detectors": ["a", "b", "c", "d"]}, "at most 3"),
        ({"classes": {"car": []}, "confidence_floor": 1.1}, "confidence_floor"),
        (
            {"classes": {"car": {"images": ["a.jpg", {"path": "a.jpg"}]}}},
            "names a.jpg more than once",
        ),
        ({"classes": {"car": {"images": ["s3://bucket/a.jpg"]}}}, "is in a bucket"),
        ({"classes": {"car": {"images": [{"path": "a.jpg", "boxes": [[5, 0, 5, 9]]}]}}}, "with 0 <= left < right"),
        ({"classes": {"car": {"images": [{"path": "a.jpg", "boxes": [[5, 0, float("nan"), 9]]}]}}}, "finite"),
        ({"classes": {"car": {"images": [str(number) for number in range(65)]}}}, "at most 64"),
        ({"classes": {"car": []}, "tiling": {"overlap": 1}}, "overlap"),
        ({"classes": {"car": []}, "detector": "a"}, "Extra inputs"),
    ],
)
def test_detection_config__mistakes(section: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectionConfig.model_validate(section)
