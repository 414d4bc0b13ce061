"""Parse a verifier's answer, which is untrusted text. Text without the required form counts as *cannot tell*."""

import json
from collections.abc import Iterator
from typing import Final

from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.verification import BoxAnswer, VerifierVerdict
from data_miner_dagster.stages.verification.questions import MAX_REASON_LENGTH

_MAX_TEXT: Final = 20_000
_MAX_OBJECTS: Final = 50
_KEYS: Final = frozenset({"verdict", "reason"})
_DECODER: Final = json.JSONDecoder()


def answer_of(text: str) -> BoxAnswer:
    """Return the verdict and reason in a verifier's answer.

    They are read from the JSON object of the required form in the last 20,000 characters of the text. Models may put
    this object in a code block or write their reasoning before it. If several such objects have the same verdict, the
    last one counts. Without such an object, or with contradictory ones, the verdict is `CANNOT_TELL`.
    """
    found = [answer for thing in _objects(text[-_MAX_TEXT:]) if (answer := _answer_in(thing)) is not None]
    if len({answer.verdict for answer in found}) == 1:
        return found[-1]
    if found:
        return BoxAnswer(VerifierVerdict.CANNOT_TELL, "the answer contradicts itself")
    said = clean_text(text, 80)
    return BoxAnswer(
        VerifierVerdict.CANNOT_TELL, f"the answer does not have the required form: {said}" if said else "no answer"
    )


def _objects(text: str) -> Iterator[object]:
    """Yield the outermost JSON objects in a string, after at most `_MAX_OBJECTS` attempts to parse one."""
    start = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if start < 0:
            return
        try:
            thing, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            start = text.find("{", start + 1)
            continue
        yield thing
        start = text.find("{", end)


def _answer_in(thing: object) -> BoxAnswer | None:
    if not isinstance(thing, dict) or "verdict" not in thing or not thing.keys() <= _KEYS:
        return None
    verdict, reason = thing["verdict"], thing.get("reason", "")
    if not isinstance(verdict, str) or not isinstance(reason, str) or verdict not in set(VerifierVerdict):
        return None
    return BoxAnswer(VerifierVerdict(verdict), clean_text(reason, MAX_REASON_LENGTH) or "")
