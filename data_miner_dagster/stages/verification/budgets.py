"""The remaining budget of a project for questions about boxes, in boxes and in money."""

from data_miner_dagster.config.verification import VerifierConfig
from data_miner_dagster.domain.phrases import counted


class Budget:
    """The budget of one project, for all its questions.

    The cost of an answer is only known afterwards. A question is therefore asked only if it and the questions in flight
    stay within the budget at the highest price seen so far. The first question is asked before any price is known.

    Args:
        config: the limits.
        num_before: the number of answers that were paid for in earlier runs.
        cost_before: the cost of these answers.
        top_price: the highest price of a single answer.
    """

    def __init__(self, config: VerifierConfig, num_before: int, cost_before: float, *, top_price: float = 0.0) -> None:
        self.num_over = 0
        """The number of questions that were not asked because the budget is used up."""
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
        """The cost of all answers."""
        return self._cost_before + self._cost_now

    def take(self) -> bool:
        """Reserve budget for one more question. Return False, and count the question, if not enough is left."""
        num_taken = self._num_before + self.num_now + self._num_open
        max_boxes, max_cost = self._config.max_boxes, self._config.max_cost
        is_within = max_boxes is None or num_taken < max_boxes
        if is_within and max_cost is not None:
            is_within = self.cost + (self._num_open + 1) * self._top_price <= max_cost and self.cost < max_cost
        self._num_open += is_within
        self.num_over += not is_within
        return is_within

    def settle(self, *, is_answered: bool, cost: float | None) -> None:
        """Record the outcome of a question. If there was no answer, release its reservation."""
        self._num_open -= 1
        self.num_now += is_answered
        if is_answered and cost is not None:
            self._num_priced_now += 1
            self._cost_now += cost
            self._top_price = max(self._top_price, cost)

    @property
    def line(self) -> str:
        """A summary of the questions asked in this run and their cost."""
        told = (
            f"answered about {counted(self.num_now, 'box', 'boxes')} now, {self._num_before + self.num_now:,} in total"
        )
        if self._num_priced_now:
            each = 1000 * self._cost_now / self._num_priced_now
            told += f", for {self._cost_now:.4g} now and {self.cost:.4g} in total ({each:.4g} per 1,000 boxes)"
        if self.num_over:
            told += f"; {counted(self.num_over, 'box was', 'boxes were')} left out because the budget is used up"
        return told
