"""A project's remaining budget for questions about boxes, in boxes and in money."""

from dataclasses import dataclass

from data_miner_dagster.config.verification import EndpointConfig, VerifierConfig
from data_miner_dagster.domain.phrases import counted


@dataclass(frozen=True, slots=True)
class PaidAnswers:
    """The number and the cost of the answers that a project has paid for so far."""

    number: int = 0
    cost: float = 0.0  # in the currency of the endpoint's prices
    top_price: float | None = None
    """The highest price of an answer by the verifier in question, or None if no price of its answers is known."""


@dataclass(frozen=True, slots=True)
class VerificationBound:
    """The maximum number of boxes about which a project may still ask its verifier, and the answers' maximum cost.

    A maximum is None if it is unknown. `boxes_by` and `cost_by` state what determines the maxima, or why they are
    unknown.
    """

    num_boxes: int | None
    boxes_by: str
    cost: float | None
    cost_by: str


def bound_of(
    config: VerifierConfig, endpoint: EndpointConfig | None, paid: PaidAnswers, num_known: int | None
) -> VerificationBound:
    """Return the maximum number of boxes that verification may still ask about, and the maximum cost of the answers.

    Args:
        config: the budget.
        endpoint: the endpoint's settings, or None if the verifier is a model in this process, which costs no money.
        paid: the answers so far, which count towards the budget.
        num_known: the number of boxes that may have to be examined, or None if it is unknown before detection.
    """
    left = None if config.max_boxes is None else max(0, config.max_boxes - paid.number)
    before = f", of which {counted(paid.number, 'was', 'were')} answered" if paid.number else ""
    num_boxes, boxes_by = left, f"max_boxes {config.max_boxes or 0:,}{before}"
    if num_known is not None and (left is None or num_known < left):
        num_boxes, boxes_by = num_known, "boxes of the last build"
    elif left is None:
        boxes_by = "the number of boxes is unknown before detection, and max_boxes sets no limit"
    return VerificationBound(num_boxes, boxes_by, *_cost_bound(config, endpoint, paid, num_boxes))


def _cost_bound(
    config: VerifierConfig, endpoint: EndpointConfig | None, paid: PaidAnswers, num_boxes: int | None
) -> tuple[float | None, str]:
    if endpoint is None:
        return 0.0, "a model in this process costs no money"
    price, price_by = endpoint.price_per_box, "price_per_box"
    if price is None and endpoint.is_priced:
        price, price_by = paid.top_price, "the highest price of an answer so far"
    by_price = None if price is None or num_boxes is None else price * num_boxes
    left = None if config.max_cost is None else max(0.0, config.max_cost - paid.cost)
    if left is not None and (by_price is None or left < by_price):
        before = f", of which {paid.cost:.4g} was spent" if paid.cost else ""
        return left, f"max_cost {config.max_cost:g}{before}"
    if by_price is not None:
        return by_price, f"{price_by}: {price:.4g}"
    if not endpoint.is_priced:
        return None, "platform.models.endpoints states no price"
    if price is None:
        return None, "the tokens of an answer are not known yet; max_cost would set a limit"
    return None, "the number of boxes is unknown; max_boxes or max_cost would set a limit"


class Budget:
    """The budget of one project, for all its questions.

    The cost of an answer is only known afterwards. A question is therefore asked only if it and the questions in flight
    stay within the budget at the highest price seen so far. Before any price is known, questions count as free, so an
    endpoint is then asked one question at a time.

    Args:
        config: the limits.
        num_before: the number of answers that were paid for in earlier runs.
        cost_before: the cost of the answers in earlier runs.
        top_price: the highest known price of a single answer, or 0 if no price is known.
    """

    def __init__(self, config: VerifierConfig, num_before: int, cost_before: float, *, top_price: float = 0.0) -> None:
        self.num_over = 0
        """The number of questions that were not asked because the budget was used up."""
        self.num_now = 0
        """The number of questions that were answered in this run."""
        self._config = config
        self._num_before = num_before
        self._cost_before = cost_before
        self._cost_now = 0.0
        self._num_priced_now = 0
        self._num_open = 0
        self._top_price = top_price

    @property
    def cost(self) -> float:
        """The cost of all answers, in this run and before it."""
        return self._cost_before + self._cost_now

    def take(self) -> bool:
        """Reserve budget for one more question. If too little is left, add to `num_over` and return False."""
        num_taken = self._num_before + self.num_now + self._num_open
        max_boxes, max_cost = self._config.max_boxes, self._config.max_cost
        is_within = max_boxes is None or num_taken < max_boxes
        if is_within and max_cost is not None:
            is_within = self.cost + (self._num_open + 1) * self._top_price <= max_cost and self.cost < max_cost
        self._num_open += is_within
        self.num_over += not is_within
        return is_within

    def settle(self, *, is_answered: bool, cost: float | None) -> None:
        """Record the outcome of a question, and release its reservation. An answer counts towards the budget.

        `cost` is None if the cost of the answer is unknown.
        """
        self._num_open -= 1
        self.num_now += is_answered
        if is_answered and cost is not None:
            self._num_priced_now += 1
            self._cost_now += cost
            self._top_price = max(self._top_price, cost)

    @property
    def line(self) -> str:
        """A summary of the answers and their cost, in this run and in total. It is shown after the verifier's name."""
        told = (
            f"answered questions about {counted(self.num_now, 'box', 'boxes')} in this run and "
            f"{self._num_before + self.num_now:,} in total"
        )
        if self._num_priced_now:
            each = 1000 * self._cost_now / self._num_priced_now
            told += f", for {self._cost_now:.4g} in this run and {self.cost:.4g} in total ({each:.4g} per 1,000 boxes)"
        if self.num_over:
            told += f"; {counted(self.num_over, 'box was', 'boxes were')} not asked about because the budget is used up"
        return told
