"""Verdicts as rows: which are in force, which are withdrawn, and what two concurrent writers leave."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pytest

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.projects import find_project, save_snapshot
from data_miner_dagster.catalog.verdicts import (
    add_verdicts,
    all_verdicts,
    count_verdicts,
    count_verdicts_to_delete,
    delete_verdicts_of_project,
    delete_verdicts_of_videos,
    find_verdict,
    undo_verdict,
    verdicts_in_force,
    verdicts_version,
)
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, Verdict, VerdictWord

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PLACE = FramePlace("local-a", 1001 / 30000)
BOX = (0.1, 0.2, 1 / 3, 0.75)
RIGHT = Verdict(
    answer_id="a1",
    word=VerdictWord.RIGHT,
    place=PLACE,
    frame_id="local-a/000003",
    queue=ReviewQueue.UNSURE,
    who="Ada",
    given_at=NOON,
    shown=ShownBox("bicycle", BOX, "lite-detector", "r1", 0.29),
)
KEEP = Verdict("k1", VerdictWord.KEEP, PLACE, "local-a/000003", ReviewQueue.FILTER, "Ben", NOON)
OTHER = FramePlace("local-b", 2.0)
PAIR = replace(KEEP, answer_id="p1", word=VerdictWord.NOT_DUPLICATE, other_place=OTHER, other_frame_id="local-b/000002")


def later(verdict: Verdict, answer_id: str, **changes: object) -> Verdict:
    return replace(verdict, answer_id=answer_id, given_at=verdict.given_at + timedelta(seconds=1), **changes)  # type: ignore[arg-type]


def ids_in_force(database: Database) -> list[str]:
    return [verdict.answer_id for verdict in verdicts_in_force(database, "bikes")]


def content_version(database: Database, project: str = "bikes") -> int:
    row = find_project(database, project)
    assert row is not None
    return row.content_version


@pytest.fixture
def bikes(database: Database) -> Database:
    save_snapshot(database, "bikes", {}, "hash", None)
    return database


def test_add_verdicts__read_back_exactly_and_the_project_learns_of_it(bikes: Database) -> None:
    before = content_version(bikes)
    everything = [
        RIGHT,
        later(RIGHT, "a2", word=VerdictWord.OTHER_CLASS, new_class_name="трактор 🚜", shown=ShownBox("car", BOX)),
        later(RIGHT, "a3", word=VerdictWord.SHIFTED, new_box=(0.0, 0.0, 1.0, 1.0), shown=ShownBox("bus", BOX)),
        PAIR,
    ]
    assert add_verdicts(bikes, "bikes", everything) == 4
    assert sorted(verdicts_in_force(bikes, "bikes"), key=lambda verdict: verdict.answer_id) == everything
    assert content_version(bikes) == before + 1
    assert count_verdicts(bikes, "bikes") == {
        VerdictWord.RIGHT: 1,
        VerdictWord.OTHER_CLASS: 1,
        VerdictWord.SHIFTED: 1,
        VerdictWord.NOT_DUPLICATE: 1,
    }
    assert [verdict.answer_id for verdict in verdicts_in_force(bikes, "bikes", words=[VerdictWord.RIGHT])] == ["a1"]
    assert verdicts_in_force(bikes, "bikes", video_keys=["local-b"]) == []
    assert verdicts_in_force(bikes, "others") == []


def test_add_verdicts__the_same_answer_again_is_one_row(bikes: Database) -> None:
    assert add_verdicts(bikes, "bikes", [RIGHT, RIGHT]) == 1
    before, version = content_version(bikes), verdicts_version(bikes, "bikes")
    assert add_verdicts(bikes, "bikes", [replace(RIGHT, who="somebody else")]) == 0
    assert [stored.verdict for stored in all_verdicts(bikes, "bikes")] == [RIGHT]
    assert (content_version(bikes), verdicts_version(bikes, "bikes")) == (before, version)


def test_verdicts_in_force__the_last_on_a_subject_counts(bikes: Database) -> None:
    drop = later(KEEP, "k2", word=VerdictWord.DROP)
    add_verdicts(bikes, "bikes", [drop, KEEP, RIGHT, later(RIGHT, "a2", word=VerdictWord.WRONG)])
    assert ids_in_force(bikes) == ["k2", "a2"]
    # another box on the frame, and the same box with another class, are separate subjects
    other_box = later(RIGHT, "a3", shown=ShownBox("bicycle", (0.5, 0.5, 0.9, 0.9)))
    add_verdicts(bikes, "bikes", [other_box, later(RIGHT, "a4", shown=ShownBox("car", BOX))])
    assert ids_in_force(bikes) == ["k2", "a2", "a3", "a4"]
    # a pair is one subject, whichever frame comes first
    turned = later(PAIR, "p2", place=OTHER, other_place=PLACE)
    add_verdicts(bikes, "bikes", [PAIR, turned])
    assert "p1" not in ids_in_force(bikes)
    assert "p2" in ids_in_force(bikes)
    add_verdicts(bikes, "bikes", [later(turned, "p3", word=VerdictWord.DUPLICATE)])
    assert "p2" not in ids_in_force(bikes)
    assert "p3" in ids_in_force(bikes)


def test_undo_verdict__what_was_said_before_counts_again(bikes: Database) -> None:
    corrected = later(RIGHT, "a2", shown=ShownBox("bicycle", (0.2, 0.2, 0.4, 0.7)), replaces="a1")
    again = later(corrected, "a3", word=VerdictWord.WRONG, replaces="a2")
    add_verdicts(bikes, "bikes", [RIGHT, corrected, again])
    assert ids_in_force(bikes) == ["a3"]
    before = content_version(bikes)
    assert undo_verdict(bikes, "bikes", "a3", who="Ben")
    assert ids_in_force(bikes) == ["a2"]
    assert undo_verdict(bikes, "bikes", "a2", who="Ben")
    assert ids_in_force(bikes) == ["a1"]
    assert content_version(bikes) == before + 2
    assert not undo_verdict(bikes, "bikes", "a2", who="Ben")
    assert not undo_verdict(bikes, "others", "a1", who="Ben")
    stored = find_verdict(bikes, "bikes", "a2")
    assert stored is not None
    assert stored.verdict == corrected
    assert stored.undone_by == "Ben"


def test_add_verdicts__two_writers_at_once_lose_nothing(bikes: Database) -> None:
    barrier = Barrier(2)

    def write(name: str) -> None:
        barrier.wait()
        for number in range(20):
            place = FramePlace("local-a", float(number))
            add_verdicts(bikes, "bikes", [replace(KEEP, answer_id=f"{name}{number}", place=place, who=name)])

    before = content_version(bikes)
    writers = [Thread(target=write, args=(name,)) for name in ("ada", "ben")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(list(all_verdicts(bikes, "bikes"))) == 40
    assert len(ids_in_force(bikes)) == 20
    assert content_version(bikes) == before + 40


def test_delete_verdicts__of_videos_and_of_a_project(bikes: Database) -> None:
    elsewhere = replace(KEEP, answer_id="k9", place=FramePlace("local-c", 1.0))
    add_verdicts(bikes, "bikes", [RIGHT, PAIR, replace(PAIR, answer_id="p3", place=elsewhere.place), elsewhere])
    save_snapshot(bikes, "others", {}, "hash", None)
    before, version = content_version(bikes), verdicts_version(bikes, "bikes")
    with bikes.transaction() as session:
        delete_verdicts_of_videos(session, ["local-b"])  # also if its frame is the second of a pair
    assert ids_in_force(bikes) == ["a1", "k9"]
    assert content_version(bikes) == before + 1
    assert verdicts_version(bikes, "bikes") != version, "the deleted verdict is not the last one"
    assert content_version(bikes, "others") == 0
    assert count_verdicts_to_delete(bikes, "bikes") == 2
    with bikes.transaction() as session:
        delete_verdicts_of_project(session, "bikes")
    assert ids_in_force(bikes) == []


def test_verdicts_version__another_verdict_in_place_of_the_last(bikes: Database) -> None:
    add_verdicts(bikes, "bikes", [RIGHT, PAIR])
    version = verdicts_version(bikes, "bikes")
    with bikes.transaction() as session:
        delete_verdicts_of_videos(session, ["local-b"])
    add_verdicts(bikes, "bikes", [KEEP])  # SQLite reuses the id
    assert verdicts_version(bikes, "bikes") != version


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shown": None}, "the verdict 'right' on local-a/000003 needs a box"),
        ({"shown": ShownBox("bicycle", (0.5, 0.2, 0.5, 0.7))}, "not four shares from 0 to 1"),
        ({"shown": ShownBox("bicycle", (float("nan"), 0.2, 0.5, 0.7))}, "not four shares"),
        ({"word": VerdictWord.SHIFTED}, "needs a new box"),
        ({"new_class_name": "car"}, "cannot have a new class name"),
        ({"word": VerdictWord.KEEP}, "cannot have a box"),
        ({"other_place": OTHER}, "cannot have a second frame"),
    ],
)
def test_verdict__parts_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(RIGHT, **changes)  # type: ignore[arg-type]
