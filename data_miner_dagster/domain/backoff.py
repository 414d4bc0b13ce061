"""How long to wait before something that failed is tried again. Pure functions.

Waits grow up to six hours and no further: an error that may pass is never given up on.
"""

from typing import Final

FIRST_SECONDS: Final = 30.0
LONGEST_SECONDS: Final = 6 * 3600.0


def backoff_seconds(
    num_failures: int, *, first_seconds: float = FIRST_SECONDS, longest_seconds: float = LONGEST_SECONDS
) -> float:
    """Return the wait after this many failures in a row (at least 1): doubled with each further one, capped."""
    exponent = min(max(num_failures, 1) - 1, 40)  # 2**40 s exceeds any cap
    return min(first_seconds * 2.0**exponent, longest_seconds)


def outage_seconds(seconds_so_far: float) -> float:
    """Return the wait before the next probe of something that has been away for `seconds_so_far`.

    An eighth of that time, so that work resumes soon after the outage ends: at most a ninth of the whole time is lost.
    """
    return min(max(seconds_so_far / 8, FIRST_SECONDS), LONGEST_SECONDS)
