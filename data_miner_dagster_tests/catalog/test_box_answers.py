from data_miner_dagster.catalog.box_answers import (
    GivenAnswer,
    Spent,
    add_answers,
    find_answers,
    spent_on_answers,
    tokens_of_answers,
)
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.domain.verification import BoxAnswer, VerifierVerdict

YES, NO = BoxAnswer(VerifierVerdict.CONFIRMED, "yes"), BoxAnswer(VerifierVerdict.REJECTED, "no")


def test_add_answers__the_first_stays_whoever_asks(database: Database) -> None:
    add_answers(
        database, "birds", "eyes", [GivenAnswer("a", "files-a", YES, 10, 2, 0.5), GivenAnswer("b", "files-a", NO)]
    )
    add_answers(database, "cars", "eyes", [GivenAnswer("a", "files-a", NO, cost=0.25), GivenAnswer("c", "files-b", NO)])
    add_answers(database, "cars", "ears", [])
    assert find_answers(database, ["a", "b", "c", "d"]) == {"a": YES, "b": NO, "c": NO}
    assert find_answers(database, []) == {}
    assert spent_on_answers(database, "birds") == Spent(2, 1, 0.5, 0.5)
    assert spent_on_answers(database, "cars") == Spent(1, 0, 0.0)
    assert spent_on_answers(database, "cars", "ears") == Spent(0, 0, 0.0)
    assert tokens_of_answers(database, ["a", "b", "d"]) == (10, 2)
    assert tokens_of_answers(database, []) == (0, 0)
