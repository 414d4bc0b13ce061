import pytest

from data_miner_dagster.domain.verification import VerifierVerdict
from data_miner_dagster.stages.reviewing.states import BoxState, ConfidenceRange, FrameClasses, VerifierRules
from data_miner_dagster_tests.support.sample_project import project_config


@pytest.mark.parametrize(
    ("confidence", "num_agreeing", "state"),
    [
        (0.3, 1, BoxState.OBJECT),
        (0.699999988079071, 1, BoxState.OBJECT),  # 0.7 as stored in float32
        (0.2999, 1, BoxState.UNSURE),
        (0.15, 1, BoxState.UNSURE),
        (0.15, 2, BoxState.OBJECT),  # a second detector agrees
        (0.1499, 3, BoxState.NONE),
    ],
)
def test_state_of__from_unsure_from_to_the_threshold(confidence: float, num_agreeing: int, state: BoxState) -> None:
    threshold = 0.7 if confidence > 0.5 else 0.3
    assert ConfidenceRange(0.15, threshold).state_of(confidence, num_agreeing_detectors=num_agreeing) is state


NONE, UNSURE, OBJECT = BoxState.NONE, BoxState.UNSURE, BoxState.OBJECT


@pytest.mark.parametrize(
    ("rules", "verdict", "states"),
    [
        ({}, None, [NONE, UNSURE, OBJECT]),
        ({}, "confirmed", [NONE, OBJECT, OBJECT]),
        ({}, "rejected", [NONE, NONE, NONE]),
        ({}, "cannot_tell", [NONE, UNSURE, OBJECT]),
        ({"confirmed": "by_confidence"}, "confirmed", [NONE, UNSURE, OBJECT]),
        ({"rejected": "unsure"}, "rejected", [NONE, UNSURE, UNSURE]),
        ({"rejected": "by_confidence"}, "rejected", [NONE, UNSURE, OBJECT]),
        ({"cannot_tell": "unsure"}, "cannot_tell", [NONE, UNSURE, UNSURE]),
    ],
)
def test_verifier_rules__what_becomes_of_a_box(
    rules: dict[str, str], verdict: str | None, states: list[BoxState]
) -> None:
    of_project = VerifierRules.of(project_config(releasing={"verifier": rules}))
    said = None if verdict is None else VerifierVerdict(verdict)
    assert [of_project.state_of(state, said) for state in (NONE, UNSURE, OBJECT)] == states


def test_state_of__no_range_where_both_are_equal() -> None:
    states = [ConfidenceRange(0.3, 0.3).state_of(confidence) for confidence in (0.29, 0.3)]
    assert states == [BoxState.NONE, BoxState.OBJECT]


def test_frame_classes__a_default_gives_way_to_a_lower_threshold() -> None:
    config = project_config(releasing={"class_thresholds": {"bicycle": 0.08}})
    assert FrameClasses.of(config) == FrameClasses(
        ("person", "bicycle"), (ConfidenceRange(0.1, 0.3), ConfidenceRange(0.08, 0.08))
    )
