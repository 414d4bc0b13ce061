from collections.abc import Mapping
from enum import StrEnum

import pytest

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.transitions import move_project, move_project_video, move_video
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.domain.statuses import (
    PROJECT_TRANSITIONS,
    PROJECT_VIDEO_TRANSITIONS,
    VIDEO_TRANSITIONS,
    ProjectStage,
    ProjectVideoStatus,
    VideoStatus,
)
from data_miner_dagster_tests.support.catalog import add_project, add_video


def test_move_video__no_such_video(database: Database) -> None:
    with database.transaction() as session:
        assert move_video(session, "urls-a", VideoStatus.DOWNLOADING) is False


def test_move_video__allowed_change_with_its_columns(database: Database) -> None:
    add_video(database, "urls-a")
    with database.transaction() as session:
        assert move_video(session, "urls-a", VideoStatus.DOWNLOADING, attempts=1)
    video = find_video(database, "urls-a")
    assert video is not None
    assert (video.status, video.attempts) == (VideoStatus.DOWNLOADING, 1)
    assert video.updated_at >= video.created_at


def test_move_video__forbidden_change_is_not_made(database: Database) -> None:
    add_video(database, "urls-a")
    with database.transaction() as session:
        assert not move_video(session, "urls-a", VideoStatus.EXTRACTED)
    with database.transaction() as session:
        assert not move_video(session, "urls-a", VideoStatus.DOWNLOADING, only_from={VideoStatus.FAILED})
    video = find_video(database, "urls-a")
    assert video is not None
    assert video.status is VideoStatus.PENDING


def test_move_video__second_of_two_equal_wishes_gets_nothing(database: Database) -> None:
    add_video(database, "urls-a")
    moved = []
    for _ in range(2):
        with database.transaction() as session:
            moved.append(move_video(session, "urls-a", VideoStatus.DOWNLOADING, only_from={VideoStatus.PENDING}))
    assert moved == [True, False]


def test_move_project_video__only_the_one_project(database: Database) -> None:
    add_project(database, "bikes")
    add_project(database, "trams")
    add_video(database, "urls-a", "bikes", "trams")
    with database.transaction() as session:
        assert move_project_video(session, "bikes", "urls-a", ProjectVideoStatus.FILTERING)
        assert not move_project_video(session, "bikes", "urls-a", ProjectVideoStatus.REJECTED)
    assert [member.status for member in find_members(database, "bikes")] == [ProjectVideoStatus.FILTERING]
    assert [member.status for member in find_members(database, "trams")] == [ProjectVideoStatus.PENDING]


def test_move_project__allowed_and_forbidden(database: Database) -> None:
    add_project(database, "bikes")
    with database.transaction() as session:
        assert not move_project(session, "bikes", ProjectStage.COMPLETE)
        assert move_project(session, "bikes", ProjectStage.FILTERING)
    row = find_project(database, "bikes")
    assert row is not None
    assert row.stage is ProjectStage.FILTERING


@pytest.mark.parametrize("transitions", [VIDEO_TRANSITIONS, PROJECT_VIDEO_TRANSITIONS, PROJECT_TRANSITIONS])
def test_transitions__every_status_is_named_can_be_left_and_can_be_reached(
    transitions: Mapping[StrEnum, frozenset[StrEnum]],
) -> None:
    statuses = set(type(next(iter(transitions))))
    assert set(transitions) == statuses
    assert all(transitions.values())
    assert set().union(*transitions.values()) == statuses
