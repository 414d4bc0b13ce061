"""The sensor, evaluated on a real instance and a real catalog."""

import errno
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.execution.plan.objects import StepFailureData, UserFailureData

from data_miner_dagster.assets.outcomes import failure_of
from data_miner_dagster.catalog.attempts import record_attempt
from data_miner_dagster.catalog.batches import end_batch, open_batches, set_run, take_batch
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.deaths import suspects_to_try
from data_miner_dagster.catalog.gates import close_gate, gate_of
from data_miner_dagster.catalog.holds import hold_items, release_holds
from data_miner_dagster.catalog.projects import date_next_look, find_project, update_project
from data_miner_dagster.catalog.releases import add_release
from data_miner_dagster.catalog.schema import ReleaseRow, utc_now
from data_miner_dagster.catalog.transitions import move_project, move_video
from data_miner_dagster.catalog.verdicts import add_verdicts, undo_verdict
from data_miner_dagster.config.settings import RefreshConfig
from data_miner_dagster.definitions import defs
from data_miner_dagster.domain.statuses import ProjectStage, VideoStatus
from data_miner_dagster.domain.verdicts import VerdictWord
from data_miner_dagster.domain.work import Failure, FailureKind, WorkStage
from data_miner_dagster.jobs import config_of
from data_miner_dagster.launching.tags import REFUSED_TAG
from data_miner_dagster.operations.builds import begin_build, lines_of_reviews, present_basis, why_reviewed
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.sensors.ticks import (
    add_members,
    drop_project,
    keys_of,
    list_projects,
    reason_of,
    requests_of,
    run_of,
    tick,
)
from data_miner_dagster_tests.support.catalog import last_attempt
from data_miner_dagster_tests.support.verdicts import frame_verdict

KEYS = [f"generic-{index:04d}" for index in range(60)]


@pytest.mark.usefixtures("platform")
def test_wanted_work__nothing(instance: dg.DagsterInstance) -> None:
    assert reason_of(tick(instance)) == "everything is done"


def test_wanted_work__videos_go_in_one_run_of_a_full_batch_that_takes_the_next_ones_itself(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS)
    (request,) = requests_of(tick(instance))
    (batch,) = open_batches(platform.database)
    assert (request.job_name, request.run_key) == ("download_videos", f"batch:{batch.id}")
    assert dict(request.tags) == {
        ".dagster/data_miner_batch": str(batch.id),
        "project": "street",
        "videos": "25",
        "dagster/max_retries": "0",
    }
    assert request.run_config == {
        "ops": {"downloading": {"config": {"batch": batch.id, "keys": keys_of(request), "drain": True}}}
    }
    assert len(set(keys_of(request)) & set(KEYS)) == 25
    assert reason_of(tick(instance)) == "street: videos are still in progress"  # its pool has one place


def test_wanted_work__the_places_of_a_pool_are_all_used(instance: dg.DagsterInstance, platform: Platform) -> None:
    instance.event_log_storage.set_concurrency_slots("download", 2)
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS)
    asked = [keys_of(request) for request in requests_of(tick(instance))]
    assert [len(keys) for keys in asked] == [25, 25]
    assert not set(asked[0]) & set(asked[1])


def test_wanted_work__a_run_that_ended_frees_its_batch(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS[:3])
    (request,) = requests_of(tick(instance))
    run_of(instance, request, dg.DagsterRunStatus.SUCCESS)
    (again,) = requests_of(tick(instance))
    assert keys_of(again) == keys_of(request)
    assert again.run_key != request.run_key, "Dagster launches a run_key once"


def test_wanted_work__a_run_that_was_never_launched_is_missed_after_a_minute(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS[:3])
    (request,) = requests_of(tick(instance))
    assert requests_of(tick(instance)) == []
    monkeypatch.setattr("data_miner_dagster.sensors.lost_work._START_SECONDS", 0.0)
    (again,) = requests_of(tick(instance))
    assert keys_of(again) == keys_of(request)


def test_wanted_work__a_cancelled_run_is_held_and_no_failure(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS[:3])
    (request,) = requests_of(tick(instance))
    run_of(instance, request, dg.DagsterRunStatus.CANCELED)
    assert "held since" in reason_of(tick(instance))
    assert len(release_holds(platform.database)) == 3
    (again,) = requests_of(tick(instance))
    assert keys_of(again) == keys_of(request)


def test_wanted_work__a_run_that_the_cluster_refused_closes_its_stage_and_charges_nothing(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS[:3])
    (request,) = requests_of(tick(instance))
    run = run_of(instance, request, dg.DagsterRunStatus.FAILURE)
    instance.add_run_tags(run.run_id, {REFUSED_TAG: "no node of the cluster has 7 CPU"})
    reason = reason_of(tick(instance))
    assert "downloading is closed until" in reason
    assert "no node of the cluster has 7 CPU" in reason
    with platform.database.reading() as session:
        assert suspects_to_try(session, WorkStage.DOWNLOADING) == []


def test_wanted_work__what_a_dead_run_left_is_tried_in_halves(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS[:6])
    (request,) = requests_of(tick(instance))
    run = run_of(instance, request, dg.DagsterRunStatus.FAILURE)
    set_run(platform.database, int(request.tags[".dagster/data_miner_batch"]), run.run_id)  # as the run's process does
    (again,) = requests_of(tick(instance))
    assert len(keys_of(again)) == 3


def test_wanted_work__what_a_failed_run_could_not_tell_the_catalog_is_in_its_events(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS[:6])
    (request,) = requests_of(tick(instance))
    run = run_of(instance, request, dg.DagsterRunStatus.FAILURE)
    set_run(platform.database, int(request.tags[".dagster/data_miner_batch"]), run.run_id)
    told = failure_of(OSError(errno.EROFS, "Read-only file system"))
    failed = StepFailureData(None, UserFailureData("", "read-only", told.metadata))  # type: ignore[no-untyped-call]
    event = dg.DagsterEvent("STEP_FAILURE", run.job_name, step_key="videos", event_specific_data=failed)
    instance.report_dagster_event(event, run.run_id)
    assert "downloading is closed until" in reason_of(tick(instance))
    with platform.database.reading() as session:
        gate = gate_of(session, WorkStage.DOWNLOADING)
        assert gate is not None
        assert (gate.kind, gate.reason) == ("store", "read-only")
        assert suspects_to_try(session, WorkStage.DOWNLOADING) == []


def test_wanted_work__a_dead_run_of_a_person_leaves_no_suspects(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, KEYS[:1])
    batch = take_batch(platform.database, WorkStage.DOWNLOADING)
    assert batch is not None
    job = defs.resolve_job_def("process_videos")
    config = {"ops": config_of("process_videos", project="street")}
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, run_config=config)
    set_run(platform.database, batch.id, run.run_id)
    (again,) = requests_of(tick(instance))
    assert keys_of(again) == KEYS[:1]


def test_wanted_work__a_stage_that_succeeds_forgets_its_failures_and_opens_its_gate(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    tick(instance)
    for batch in open_batches(platform.database):
        end_batch(platform.database, batch.id, "lost")
    with platform.database.transaction() as session:
        record_attempt(session, WorkStage.SOURCING, "street", Failure(FailureKind.FAILED, "no network"), utc_now())
        close_gate(session, WorkStage.SOURCING, FailureKind.NETWORK, "no network").closed_until = utc_now()
    (probe,) = requests_of(tick(instance))
    run_of(instance, probe, dg.DagsterRunStatus.SUCCESS)
    tick(instance)
    with platform.database.reading() as session:
        assert gate_of(session, WorkStage.SOURCING) is None
        assert last_attempt(session, WorkStage.SOURCING, "street") is None


def _settle(platform: Platform, key: str) -> None:
    with platform.database.transaction() as session:
        assert move_video(session, key, VideoStatus.FAILED, error="gone")


def test_wanted_work__a_project_is_built_stage_by_stage_when_all_has_settled(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    assert reason_of(tick(instance)) == "street: it has no videos"
    add_members(platform, ["generic-a"])
    (download,) = requests_of(tick(instance))
    assert reason_of(tick(instance)) == "street: videos are still in progress"
    end_batch(platform.database, int(download.tags[".dagster/data_miner_batch"]), "finished")
    _settle(platform, "generic-a")
    asked = []
    for working, after in (
        (ProjectStage.FILTERING, ProjectStage.DEDUPLICATION_READY),
        (ProjectStage.DEDUPLICATION, ProjectStage.DETECTION_READY),
        (ProjectStage.DETECTION, ProjectStage.RELEASING_READY),
        (ProjectStage.RELEASING, ProjectStage.COMPLETE),
    ):
        (request,) = requests_of(tick(instance))
        asked.append((request.job_name, request.partition_key))
        assert "in progress" in reason_of(tick(instance))
        begin_build(platform, "street", working)
        row = find_project(platform.database, "street")
        assert row is not None
        with platform.database.transaction() as session:
            move_project(session, "street", working)
            move_project(session, "street", after)
        if after is ProjectStage.COMPLETE:
            update_project(platform.database, "street", built_basis=row.building_basis)
        run_of(instance, request, dg.DagsterRunStatus.SUCCESS)
    jobs = ["filter_frames", "deduplicate_frames", "detect_objects", "release_dataset"]
    assert asked == [(job, "street") for job in jobs]
    assert reason_of(tick(instance)) == "everything is done"
    update_project(platform.database, "street", content_version=99)  # another video is ready
    (request,) = requests_of(tick(instance))
    assert request.job_name == "filter_frames"


def test_wanted_work__a_stage_that_failed_waits_for_its_date_or_for_a_change(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, ["generic-a"])
    _settle(platform, "generic-a")
    row = find_project(platform.database, "street")
    assert row is not None
    failure = Failure(FailureKind.NOTHING_TO_RELEASE, "0 candidates", basis=present_basis(platform, row))
    with platform.database.transaction() as session:
        record_attempt(session, WorkStage.RELEASING, "street", failure, None)
        move_project(session, "street", ProjectStage.FAILED)
    assert "street: releasing failed: 0 candidates; it waits until something changes" in reason_of(tick(instance))
    with platform.database.transaction() as session:
        record_attempt(session, WorkStage.RELEASING, "street", failure, utc_now().replace(year=2100))
    assert "0 candidates; it is retried after 2100-" in reason_of(tick(instance))
    with platform.database.transaction() as session:
        record_attempt(session, WorkStage.RELEASING, "street", failure, None)
    update_project(platform.database, "street", content_version=99)
    (request,) = requests_of(tick(instance))
    assert request.job_name == "filter_frames"


def test_wanted_work__a_project_looks_again_at_what_its_build_left_out(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, ["generic-a"])
    _settle(platform, "generic-a")
    row = find_project(platform.database, "street")
    assert row is not None
    update_project(platform.database, "street", stage=ProjectStage.COMPLETE, built_basis=present_basis(platform, row))
    date_next_look(platform.database, "street", num_left_out=2)
    assert reason_of(tick(instance)) == "everything is done"  # until the next look
    update_project(platform.database, "street", look_again_at=utc_now())
    (request,) = requests_of(tick(instance))
    assert request.job_name == "filter_frames"
    row = find_project(platform.database, "street")
    assert row is not None
    assert row.look_again_at is None
    assert row.built_basis != present_basis(platform, row)  # until the build ends, so that every stage is requested


def test_wanted_work__no_build_begins_in_the_middle_of_a_review(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform, refresh={"after_review_minutes": 5})
    list_projects(instance, platform, "street")
    add_members(platform, ["generic-a"])
    _settle(platform, "generic-a")
    row = find_project(platform.database, "street")
    assert row is not None
    update_project(platform.database, "street", stage=ProjectStage.COMPLETE, built_basis=present_basis(platform, row))
    said = frame_verdict("generic-a/000000", 0.0, VerdictWord.KEEP)
    add_verdicts(platform.database, "street", [replace(said, given_at=utc_now() - timedelta(minutes=4))])
    assert "street: people are reviewing the project; unless they answer again, its next build starts at " in reason_of(
        tick(instance)
    )
    assert [line.partition(";")[0][8:] for line in lines_of_reviews(platform)] == ["people are reviewing the project"]
    assert lines_of_reviews(platform, "other") == []
    quiet = replace(said, answer_id="another", given_at=utc_now() - timedelta(minutes=6))
    undone_now = undo_verdict(platform.database, "street", said.answer_id, who="Ada")
    assert undone_now
    add_verdicts(platform.database, "street", [quiet])
    assert "people are reviewing the project" in reason_of(tick(instance))  # undoing an answer counts as an answer
    drop_project(platform, refresh={"after_review_minutes": 0})
    list_projects(instance, platform, "street")
    (request,) = requests_of(tick(instance))
    assert request.job_name == "filter_frames"


def test_why_reviewed__until_it_has_been_quiet(platform: Platform) -> None:
    drop_project(platform)
    tick_time = utc_now()
    said = frame_verdict("generic-a/000000", 0.0, VerdictWord.KEEP)
    assert why_reviewed(platform.database, "street", RefreshConfig(), tick_time) is None  # nobody has answered yet
    add_verdicts(platform.database, "street", [replace(said, given_at=tick_time - timedelta(seconds=299))])
    assert "UTC, 5 minutes after the last answer" in (
        why_reviewed(platform.database, "street", RefreshConfig(), tick_time) or ""
    )
    assert why_reviewed(platform.database, "street", RefreshConfig(), tick_time + timedelta(seconds=1)) is None


def test_wanted_work__a_project_that_cannot_be_planned_holds_up_no_other(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    for name in ("broken", "street"):
        drop_project(platform, name, refresh={"wait_for_all": False, "min_new_videos": 1})
    list_projects(instance, platform, "broken", "street")
    update_project(platform.database, "broken", config={"name": 5})  # as an older version may have kept it
    add_members(platform, ["generic-a"], "broken")
    add_members(platform, ["generic-a"])
    tick(instance)  # asks for the video
    reason = reason_of(tick(instance))
    assert "broken: the stored settings of project 'broken' do not fit this version" in reason
    assert "street: 0 new videos are ready; a build needs 1" in reason


def test_wanted_work__a_release_of_more_videos_than_are_left_is_no_negative_number(
    instance: dg.DagsterInstance, platform: Platform
) -> None:
    drop_project(platform, refresh={"wait_for_all": False, "min_new_videos": 2})
    list_projects(instance, platform, "street")
    add_members(platform, ["generic-a"])
    release = ReleaseRow(
        project_name="street", version="v001", fingerprint="f", num_images=1, num_boxes=1, num_videos=3
    )
    with platform.database.transaction() as session:
        add_release(session, release)
    tick(instance)  # asks for the video
    assert "street: 0 new videos are ready; a build needs 2" in reason_of(tick(instance))


def test_wanted_work__says_what_is_closed_and_what_is_held(instance: dg.DagsterInstance, platform: Platform) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, ["generic-a"])
    with platform.database.transaction() as session:
        close_gate(session, WorkStage.DOWNLOADING, FailureKind.STORE, "the store is read-only")
    hold_items(platform.database, project="street", stage=WorkStage.DETECTION, reason="too many boxes")
    reason = reason_of(tick(instance))
    assert "downloading is closed until 2" in reason
    assert "the store is read-only" in reason
    assert "detection of project street has been held since" in reason


def test_wanted_work__an_idle_tick_takes_no_lock_and_asks_dagster_nothing(
    instance: dg.DagsterInstance, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_project(platform)
    list_projects(instance, platform, "street")
    add_members(platform, ["generic-a"])
    _settle(platform, "generic-a")
    row = find_project(platform.database, "street")
    assert row is not None
    update_project(platform.database, "street", stage=ProjectStage.COMPLETE, built_basis=present_basis(platform, row))
    tick(instance)

    def refuse(*_arguments: object, **_named: object) -> None:
        raise AssertionError("an idle tick wrote, or asked for runs, keys or files")

    monkeypatch.setattr(Database, "transaction", refuse)
    monkeypatch.setattr(type(instance), "get_runs", refuse)
    monkeypatch.setattr(type(instance), "get_dynamic_partitions", refuse)
    monkeypatch.setattr("data_miner_dagster.sensors.project_files.register_project_file", refuse)
    assert reason_of(tick(instance)) == "everything is done"
