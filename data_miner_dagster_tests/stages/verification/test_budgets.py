from data_miner_dagster.config.verification import VerifierConfig
from data_miner_dagster.stages.verification.budgets import Budget


def budget(num_before: int = 0, cost_before: float = 0.0, **limits: float) -> Budget:
    return Budget(VerifierConfig.model_validate({"model": "eyes", **limits}), num_before, cost_before)


def test_take__as_many_as_there_are_left() -> None:
    found = budget(num_before=3, max_boxes=5)
    assert [found.take() for _ in range(4)] == [True, True, False, False]
    found.settle(is_answered=False, cost=None)  # one had no answer: another may be asked
    assert [found.take(), found.take()] == [True, False]
    assert found.num_over == 3


def test_take__those_on_their_way_count_at_the_top_price_price() -> None:
    found = budget(cost_before=1.0, max_cost=2.0, max_boxes=100)
    assert found.take()
    found.settle(is_answered=True, cost=0.25)  # 0.75 is left: three at this price
    assert [found.take() for _ in range(4)] == [True, True, True, False]
    found.settle(is_answered=True, cost=0.5)  # 0.25 is left, and two are on their way
    assert not found.take()
    assert found.line == (
        "answered about 2 boxes now, 2 in total, for 0.75 now and 1.75 in total (375 per 1,000 boxes); 2 boxes "
        "were left out because the budget is used up"
    )


def test_take__the_price_of_earlier_answers_is_known() -> None:
    config = VerifierConfig.model_validate({"model": "eyes", "max_cost": 2.0})
    found = Budget(config, 3, 1.5, top_price=0.25)
    assert [found.take() for _ in range(3)] == [True, True, False]


def test_take__nothing_is_left_of_the_money_before() -> None:
    assert not budget(cost_before=2.0, max_cost=2.0).take()
