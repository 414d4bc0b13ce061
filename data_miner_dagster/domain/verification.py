"""What a verifier says of a detected box: a second pair of eyes that looks at the box's own crop, and at nothing else.

Belongs here: the words and the record that cross layers. Does not belong here: what people say (verdicts.py), what a
release makes of an answer (stages/reviewing/states.py).
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
"""The answers, none included, by their numbers in arrays."""


@dataclass(frozen=True, slots=True)
class BoxAnswer:
    """What a verifier said of one box, and why, in its own words."""

    verdict: VerifierVerdict
    reason: str = ""
