"""Delays before a retry, as pure functions.

By default, a delay is at most six hours. How often to retry is up to the callers.
"""

from typing import Final

FIRST_SECONDS: Final = 30.0
LONGEST_SECONDS: Final = 6 * 3600.0


def backoff_seconds(
    num_failures: int, *, first_seconds: float = FIRST_SECONDS, longest_seconds: float = LONGEST_SECONDS
) -> float:
    """Return the delay in seconds after `num_failures` consecutive failures.

    It is `first_seconds` after the first failure, and doubles with each further one up to `longest_seconds`.
    """
    exponent = min(max(num_failures, 1) - 1, 40)  # 2**40 s exceeds any limit
    return min(first_seconds * 2.0**exponent, longest_seconds)


def outage_seconds(seconds_so_far: float) -> float:
    """Return the delay in seconds before the next probe of something that has been unavailable for `seconds_so_far`.

    The delay is an eighth of that time, but at least 30 seconds and at most six hours. Work therefore resumes soon
    after the outage ends: after an outage of at least four minutes, at most a ninth of the total time is lost.
    """
    return min(max(seconds_so_far / 8, FIRST_SECONDS), LONGEST_SECONDS)
