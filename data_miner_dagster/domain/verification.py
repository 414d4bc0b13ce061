"""A verifier's answers about detected boxes: a second model that examines only a box's own crop.

Belongs here: the words and the record that cross layers. Does not belong here: people's verdicts (verdicts.py), the
effect of an answer on a release (stages/reviewing/states.py).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class VerifierVerdict(StrEnum):
    """The three answers. Stored, and part of a release's tables."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANNOT_TELL = "cannot_tell"  # also a reply that is not an answer: it decides nothing


VERDICT_CODES: Final[tuple[VerifierVerdict | None, ...]] = (None, *VerifierVerdict)
"""The answers, including none, by their numbers in arrays."""


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """A verifier's answer about one box, and its reason, in its own words."""

    verdict: VerifierVerdict
    reason: str = ""
