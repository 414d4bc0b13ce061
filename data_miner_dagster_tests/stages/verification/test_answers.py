import pytest

from data_miner_dagster.domain.verification import BoxAnswer, VerifierVerdict
from data_miner_dagster.stages.verification.answers import answer_of

CONFIRMED, REJECTED, CANNOT_TELL = VerifierVerdict


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"verdict": "confirmed", "reason": "two wheels"}', BoxAnswer(CONFIRMED, "two wheels")),
        ('```json\n{"verdict": "rejected", "reason": "a\\ncow"}\n```', BoxAnswer(REJECTED, "a cow")),
        ('I see {a} cow. {"verdict": "cannot_tell", "reason": "dark"} That is all.', BoxAnswer(CANNOT_TELL, "dark")),
        ('{"verdict": "confirmed"}', BoxAnswer(CONFIRMED)),
        ('{"verdict": "rejected", "reason": "x"} {"verdict": "rejected", "reason": "y"}', BoxAnswer(REJECTED, "y")),
    ],
)
def test_answer_of__the_object_in_it(text: str, answer: BoxAnswer) -> None:
    assert answer_of(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "confirmed",
        '{"verdict": "Confirmed", "reason": ""}',
        '{"verdict": "confirmed", "reason": "", "confidence": 1}',
        '{"verdict": ["confirmed"], "reason": ""}',
        '{"verdict": "confirmed", "reason": 3}',
        '{"verdict": "confirmed", "reason": "cut off',
        '[{"answer": {"verdict": "confirmed"}}]',
        '{"verdict": "confirmed", "reason": "a"} {"verdict": "rejected", "reason": "b"}',
        "{" * 5000,
        '{"a":' * 5000,
        "\ud800\x00",
    ],
)
def test_answer_of__anything_else_is_cannot_tell(text: str) -> None:
    assert answer_of(text).verdict is CANNOT_TELL


def test_answer_of__a_reason_is_one_short_line() -> None:
    reason = answer_of('{"verdict": "confirmed", "reason": "' + "long \\u202e\\n" * 500 + '"}').reason
    assert len(reason) <= 300
    assert "\n" not in reason
    assert "\u202e" not in reason
