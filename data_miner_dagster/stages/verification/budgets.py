"""How many boxes a project may still ask about, and for how much."""

from data_miner_dagster.config.verification import VerifierConfig


class Budget:
    """The budget of one project, for all its questions.

    The cost of an answer is known only afterwards. So a question is asked only if it and the questions in flight stay
    within the budget at the highest price seen so far. The first is asked before there is a price.

    Args:
        config: the limits.
        num_before: answers that were paid for before.
        cost_before: their cost.
        top_price: the highest price of a single answer.
    """

    def __init__(self, config: VerifierConfig, num_before: int, cost_before: float, *, top_price: float = 0.0) -> None:
        self.num_over = 0
        """Questions that were not asked since the budget is spent."""
        self.num_now = 0
        """Questions that were answered now."""
        self._config = config
        self._num_before = num_before
        self._cost_before = cost_before
        self._cost_now = 0.0
        self._num_priced_now = 0
        self._num_open = 0
        self._top_price = top_price

    @property
    def cost(self) -> float:
        """What all answers cost."""
        return self._cost_before + self._cost_now

    def take(self) -> bool:
        """Take one more question from the budget. Return False, and count it, if nothing is left for it."""
        num_taken = self._num_before + self.num_now + self._num_open
        max_boxes, max_cost = self._config.max_boxes, self._config.max_cost
        is_within = max_boxes is None or num_taken < max_boxes
        if is_within and max_cost is not None:
            is_within = self.cost + (self._num_open + 1) * self._top_price <= max_cost and self.cost < max_cost
        self._num_open += is_within
        self.num_over += not is_within
        return is_within

    def settle(self, *, is_answered: bool, cost: float | None) -> None:
        """Record the outcome of a question. Without an answer, it is returned to the budget."""
        self._num_open -= 1
        self.num_now += is_answered
        if is_answered and cost is not None:
            self._num_priced_now += 1
            self._cost_now += cost
            self._top_price = max(self._top_price, cost)

    @property
    def line(self) -> str:
        """The questions asked now and their cost, in words."""
        told = f"answered about {self.num_now:,} boxes now, {self._num_before + self.num_now:,} in all"
        if self._num_priced_now:
            each = 1000 * self._cost_now / self._num_priced_now
            told += f", for {self._cost_now:.4g} now and {self.cost:.4g} in all ({each:.4g} per 1,000 boxes)"
        if self.num_over:
            told += f"; {self.num_over:,} are not asked about, since the budget is spent"
        return told
