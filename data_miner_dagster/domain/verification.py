"""The answers of a verifier, a second model that examines the crop of each detected box.

Belongs here: the words and the record that cross layers. Does not belong here: people's verdicts (verdicts.py), or the
effect of an answer on a release (stages/reviewing/states.py).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class VerifierVerdict(StrEnum):
    """A verifier's answer about a box. Values are stored, and are part of a release's tables."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANNOT_TELL = "cannot_tell"  # also stands for a reply that is not a valid answer


VERDICT_CODES: Final[tuple[VerifierVerdict | None, ...]] = (None, *VerifierVerdict)
"""The answers by their codes in arrays. Code 0 means that there is no answer."""


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """A verifier's answer about one box, with the reason that the verifier gave."""

    verdict: VerifierVerdict
    reason: str = ""
