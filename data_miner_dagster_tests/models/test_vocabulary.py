import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.records import ClassPrompts
from data_miner_dagster.models.lite.darknet import read_class_names
from data_miner_dagster.models.packages import package_folder
from data_miner_dagster.models.pins import YOLOV3_TINY
from data_miner_dagster.models.registry import BUILT_IN
from data_miner_dagster.models.vocabulary import COCO_CLASS_NAMES, check_classes, match_vocabulary, spellings

KNOWN = ("person", "car", "bus", "traffic light", "mouse", "knife", "wine glass", "tvmonitor", "couch", "skis")


def matched(**prompts: list[str]) -> dict[str, tuple[int, str]]:
    classes = [ClassPrompts(name, tuple(phrases)) for name, phrases in prompts.items()]
    return {KNOWN[known]: match for known, match in match_vocabulary(KNOWN, classes, detector="tiny").items()}


def test_match_vocabulary__no_classes() -> None:
    assert matched() == {}


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("person", "person"),
        ("a person", "person"),
        ("People", "person"),
        ("the  Cars", "car"),
        ("buses", "bus"),
        ("traffic-lights", "traffic light"),
        ("traffic_light", "traffic light"),
        ("mice", "mouse"),
        ("knives", "knife"),
        ("wine glasses", "wine glass"),
        ("a television.", "tvmonitor"),
        ("sofa", "couch"),
        ("ski", "skis"),
    ],
)
def test_match_vocabulary__spellings_of_a_name(prompt: str, name: str) -> None:
    assert matched(thing=[prompt]) == {name: (0, prompt)}


@pytest.mark.parametrize("prompt", ["taxi", "cyclist", "carpet", "a person on a bus", "glass", "light", "ca"])
def test_match_vocabulary__near_is_not_the_same(prompt: str) -> None:
    with pytest.raises(ConfigError, match="'thing' matches none of them with its phrases"):
        matched(thing=[prompt])


def test_match_vocabulary__several_names_for_one_class() -> None:
    assert matched(vehicle=["car", "taxi cab", "bus"], person=["person"]) == {
        "car": (0, "car"),
        "bus": (0, "bus"),
        "person": (1, "person"),
    }


def test_match_vocabulary__similar_names_stand_for_themselves() -> None:
    names = ("t-shirt", "t shirt", "..", ".")
    classes = [ClassPrompts(name, (name,)) for name in names]
    assert match_vocabulary(names, classes, detector="student") == {
        number: (number, name) for number, name in enumerate(names)
    }
    both = match_vocabulary(names, [ClassPrompts("shirt", ("t shirt",))], detector="student")
    assert both == {0: (0, "t shirt"), 1: (0, "t shirt")}


def test_match_vocabulary__all_that_is_missing_in_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        matched(person=["a cyclist", "a walker"], cyclist=["cyclist"], truk=["buss"])
    assert str(caught.value) == (
        f"detection.classes: detector 'tiny' detects only its own classes ({len(KNOWN)}, listed by `data-miner models "
        "classes tiny --config FILE`): 'person' matches none of them with its phrases ('a cyclist', 'a walker'), but "
        "'person' itself does: write `person: []`; 'cyclist' is not one of them; 'truk' matches none of them with its "
        "phrases ('buss') (did you mean 'bus'?); use one of these classes, or an open-vocabulary detector "
        "(`data-miner models list`)"
    )


def test_match_vocabulary__two_classes_for_one_name() -> None:
    with pytest.raises(ConfigError, match="'car' and 'auto' both match the class 'car'"):
        matched(car=["car"], auto=["automobile"])


def test_spellings__words_that_end_in_s() -> None:
    assert spellings("a glass") == {"glass"}
    assert spellings("bus") == {"bus"}


def test_check_classes__without_weights() -> None:
    entry = BUILT_IN["lite-yolov3-tiny"]
    check_classes(entry, [ClassPrompts("bicycle", ("bike",))])
    with pytest.raises(ConfigError, match="did you mean 'giraffe'"):
        check_classes(entry, [ClassPrompts("giraf", ("giraf",))])


def test_check_classes__open_vocabulary_takes_anything() -> None:
    check_classes(BUILT_IN["grounding-dino-base"], [ClassPrompts("giraf", ("a green giraf",))])


@pytest.mark.models
def test_coco_class_names__as_the_file_beside_the_weights() -> None:
    assert read_class_names(package_folder(YOLOV3_TINY)) == COCO_CLASS_NAMES
