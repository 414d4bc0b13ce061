import pytest

from data_miner_dagster.config.verification import EndpointConfig, VerifierConfig
from data_miner_dagster.stages.verification.budgets import Budget, PaidAnswers, bound_of


def budget(num_before: int = 0, cost_before: float = 0.0, **limits: float) -> Budget:
    return Budget(VerifierConfig.model_validate({"model": "eyes", **limits}), num_before, cost_before)


def test_take__as_many_as_there_are_left() -> None:
    found = budget(num_before=3, max_boxes=5)
    assert [found.take() for _ in range(4)] == [True, True, False, False]
    found.settle(is_answered=False, cost=None)  # one question had no answer, so another may be asked
    assert [found.take(), found.take()] == [True, False]
    assert found.num_over == 3


def test_take__those_on_their_way_count_at_the_top_price() -> None:
    found = budget(cost_before=1.0, max_cost=2.0, max_boxes=100)
    assert found.take()
    found.settle(is_answered=True, cost=0.25)  # 0.75 is left, enough for three at this price
    assert [found.take() for _ in range(4)] == [True, True, True, False]
    found.settle(is_answered=True, cost=0.5)  # 0.25 is left, and two questions are still unanswered
    assert not found.take()
    assert found.line == (
        "answered questions about 2 boxes in this run and 2 in total, for 0.75 in this run and 1.75 in total "
        "(375 per 1,000 boxes); "
        "2 boxes were not asked about because the budget is used up"
    )


def test_take__the_price_of_earlier_answers_is_known() -> None:
    config = VerifierConfig.model_validate({"model": "eyes", "max_cost": 2.0})
    found = Budget(config, 3, 1.5, top_price=0.25)
    assert [found.take() for _ in range(3)] == [True, True, False]


def test_take__nothing_is_left_of_the_money_before() -> None:
    assert not budget(cost_before=2.0, max_cost=2.0).take()


BY_BOX = {"price_per_box": 0.002}
BY_TOKENS = {"price_per_million_input_tokens": 0.2, "price_per_million_output_tokens": 0.8}


@pytest.mark.parametrize(
    ("limits", "prices", "paid", "num_known", "num_boxes", "cost", "cost_by"),
    [
        ({}, BY_BOX, PaidAnswers(), None, 10_000, 20.0, "price_per_box: 0.002"),
        ({}, BY_BOX, PaidAnswers(4_000, 8.0), None, 6_000, 12.0, "price_per_box: 0.002"),
        ({}, BY_BOX, PaidAnswers(), 50, 50, 0.1, "price_per_box: 0.002"),
        ({"max_cost": 5}, BY_BOX, PaidAnswers(1_000, 2.0), None, 9_000, 3.0, "max_cost 5, of which 2 was spent"),
        ({"max_cost": 5}, BY_BOX, PaidAnswers(3_000, 6.0), None, 7_000, 0.0, "max_cost 5, of which 6 was spent"),
        ({"max_cost": 5}, BY_TOKENS, PaidAnswers(), None, 10_000, 5.0, "max_cost 5"),
        ({}, BY_TOKENS, PaidAnswers(), None, 10_000, None, "the tokens of an answer are not known yet; max_cost would"),
        ({}, BY_TOKENS, PaidAnswers(1, 0.1, 0.1), None, 9_999, 999.9, "the highest price of an answer so far: 0.1"),
        ({"max_boxes": None}, BY_BOX, PaidAnswers(), None, None, None, "the number of boxes is unknown; max_boxes or"),
        ({"max_boxes": None, "max_cost": 5}, BY_BOX, PaidAnswers(), None, None, 5.0, "max_cost 5"),
        ({"max_boxes": 0}, BY_BOX, PaidAnswers(), None, 0, 0.0, "price_per_box: 0.002"),
        ({}, {}, PaidAnswers(), 50, 50, None, "platform.models.endpoints states no price"),
        ({}, {"price_per_box": 0}, PaidAnswers(), None, 10_000, 0.0, "price_per_box: 0"),
    ],
)
def test_bound_of__the_lowest_limit_that_is_known(
    limits: dict[str, float | None],
    prices: dict[str, float],
    paid: PaidAnswers,
    num_known: int | None,
    num_boxes: int | None,
    cost: float | None,
    cost_by: str,
) -> None:
    config = VerifierConfig.model_validate({"model": "eyes", **limits})
    endpoint = EndpointConfig.model_validate({"url": "https://api.example.org/v1", "model": "m", **prices})
    bound = bound_of(config, endpoint, paid, num_known)
    assert bound.num_boxes == num_boxes
    assert bound.cost == (None if cost is None else pytest.approx(cost))
    assert bound.cost_by.startswith(cost_by)


def test_bound_of__a_model_in_this_process_costs_no_money() -> None:
    bound = bound_of(VerifierConfig(model="qwen", max_boxes=None), None, PaidAnswers(), None)
    assert (bound.num_boxes, bound.cost) == (None, 0.0)
    assert bound.boxes_by == "the number of boxes is unknown before detection, and max_boxes sets no limit"
