"""Verifiers' answers, stored so that each question (stages/verification/) is asked and paid for only once.

There is one row per question. Rows are added as answers arrive, never change, and are deleted only with all traces of
their video. They do not belong to a project: the next project with the same question reuses the answer. `project_name`
only records which project asked, for its budget.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from data_miner_dagster.catalog.database import Database, now_of, portions
from data_miner_dagster.catalog.schema import BoxAnswerRow
from data_miner_dagster.catalog.writers import insert_absent
from data_miner_dagster.domain.verification import BoxAnswer


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """A received answer with its cost, and the keys of the question and of the video that the question is about."""

    question_key: str
    video_key: str
    answer: BoxAnswer
    input_tokens: int | None = None  # None if the verifier does not report it
    output_tokens: int | None = None  # None if the verifier does not report it
    cost: float | None = None  # in the currency of the endpoint's prices, or None if it is unknown


@dataclass(frozen=True, slots=True)
class Spent:
    """The answers that a project has received so far: their number, their total cost, and the highest price."""

    num_answers: int
    num_priced: int  # answers with a known cost
    cost: float  # the sum of the known costs, in the currency of the endpoint's prices
    top_price: float = 0.0  # the highest price of a single answer


def find_answers(database: Database, question_keys: Collection[str]) -> dict[str, BoxAnswer]:
    """Return the stored answers by question key. Questions without an answer are omitted."""
    found: dict[str, BoxAnswer] = {}
    with database.reading() as session:
        for some in portions(question_keys):
            query = select(BoxAnswerRow.question_key, BoxAnswerRow.verdict, BoxAnswerRow.reason)
            for key, verdict, reason in session.execute(query.where(BoxAnswerRow.question_key.in_(some))):
                found[key] = BoxAnswer(verdict, reason)
    return found


def tokens_of_answers(database: Database, question_keys: Collection[str]) -> tuple[int, int]:
    """Return the total numbers of input and output tokens of the stored answers to questions.

    Unknown numbers count as 0.
    """
    sums = (func.sum(BoxAnswerRow.input_tokens), func.sum(BoxAnswerRow.output_tokens))
    found = [0, 0]
    with database.reading() as session:
        for some in portions(question_keys):
            row = session.execute(select(*sums).where(BoxAnswerRow.question_key.in_(some))).one()
            found = [total + int(number or 0) for total, number in zip(found, row, strict=True)]
    return found[0], found[1]


def add_answers(database: Database, project: str, verifier: str, given: Sequence[GivenAnswer]) -> None:
    """Store answers. If another worker has already stored an answer to the same question, that answer is kept.

    Args:
        database: the catalog.
        project: the project that asked.
        verifier: the fingerprint of the verifier.
        given: the answers.
    """
    if not given:
        return
    with database.transaction() as session:
        values = [
            {
                "question_key": one.question_key,
                "video_key": one.video_key,
                "project_name": project,
                "verifier": verifier,
                "verdict": one.answer.verdict,
                "reason": one.answer.reason,
                "input_tokens": one.input_tokens,
                "output_tokens": one.output_tokens,
                "cost": one.cost,
                "answered_at": now_of(session),
            }
            for one in given
        ]
        insert_absent(session, BoxAnswerRow, values, returning="question_key")


def spent_on_answers(database: Database, project: str, verifier: str | None = None) -> Spent:
    """Return the number and cost of the answers that a project has received.

    If `verifier` is not None, only answers from the verifier with this fingerprint count.
    """
    sums = (func.sum(BoxAnswerRow.cost), func.max(BoxAnswerRow.cost))
    query = select(func.count(), func.count(BoxAnswerRow.cost), *sums)
    query = query.where(BoxAnswerRow.project_name == project)
    if verifier is not None:
        query = query.where(BoxAnswerRow.verifier == verifier)
    with database.reading() as session:
        num_answers, num_priced, cost, top_price = session.execute(query).one()
    return Spent(num_answers, num_priced, float(cost or 0.0), float(top_price or 0.0))


def delete_answers_of_videos(session: Session, video_keys: Collection[str]) -> None:
    """Delete the answers about crops from these videos, whichever project asked."""
    for some in portions(video_keys):
        session.execute(delete(BoxAnswerRow).where(BoxAnswerRow.video_key.in_(some)))
