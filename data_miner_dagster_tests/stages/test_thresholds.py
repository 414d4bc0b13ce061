import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.stages.thresholds import check_same_scale, value_for_encoder


def test_value_for_encoder__none_one_or_its_own() -> None:
    assert value_for_encoder("a.b", None, "axis") is None
    assert value_for_encoder("a.b", 0, "axis") == 0.0
    assert value_for_encoder("a.b", {"other": 0.25, "axis": 0.5}, "axis") == 0.5


def test_value_for_encoder__not_named() -> None:
    with pytest.raises(ConfigError, match=r"a\.b is given for one, two but not for 'axis'"):
        value_for_encoder("a.b", {"two": 0.25, "one": 0.5}, "axis")


def test_check_same_scale__refuses_a_number_of_another_encoder() -> None:
    check_same_scale("filtering", {"positive_threshold": 0.25}, "axis", "axis", {"positive_threshold": 0.25})
    with pytest.raises(ConfigError, match=r"filtering\.positive_threshold = 0\.25 was set for encoder 'axis'"):
        check_same_scale("filtering", {"positive_threshold": 0.25}, "other", "axis", {"positive_threshold": 0.25})


def test_check_same_scale__a_new_number_or_none_passes() -> None:
    for now in ({"positive_threshold": 0.125}, {}):
        check_same_scale("filtering", now, "other", "axis", {"positive_threshold": 0.25})
