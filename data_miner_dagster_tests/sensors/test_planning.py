"""The planners: wanted, not done, not in flight → ask."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.partitions import PartitionRange
from data_miner_dagster.sensors.planning import (
    DatasetPlan,
    ProjectState,
    StageWork,
    VideoState,
    is_settled,
    needs_sourcing,
    next_try_at,
    plan_dataset,
    plan_stage_ranges,
    plan_video_work,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


def video(
    key: str,
    status: VideoStatus,
    *,
    retry_after: datetime | None = None,
    has_file: bool = False,
    is_embedded: bool = False,
) -> VideoState:
    return VideoState(key, status, retry_after, has_file, is_embedded)


def project(sourced: str | None = "hash", models: str = "models") -> ProjectState:
    return ProjectState("p", "hash", sourced, models)


def work_by_job(*videos: VideoState) -> dict[str, tuple[str, ...]]:
    return {work.job: work.wanted for work in plan_video_work(videos, NOW)}


def test_next_try_at__at_once_thrice_then_ever_later_up_to_the_cap() -> None:
    config = DownloadingConfig(backoff_seconds=30, max_backoff_seconds=100)
    assert next_try_at(0, None, config) is None
    delays = [due and (due - NOW).total_seconds() for due in (next_try_at(n, NOW, config) for n in (2, 3, 4, 5, 999))]
    assert delays == [None, 30, 60, 100, 100]


def test_plan_video_work__empty() -> None:
    assert work_by_job() == {"download_videos": (), "extract_frames": (), "embed_frames": ()}


def test_plan_video_work__each_status_has_one_next_step() -> None:
    assert work_by_job(
        video("pending", VideoStatus.PENDING),
        video("downloading", VideoStatus.DOWNLOADING),
        video("downloaded", VideoStatus.DOWNLOADED),
        video("extracting", VideoStatus.EXTRACTING),
        video("extracted", VideoStatus.EXTRACTED),
        video("embedded", VideoStatus.EXTRACTED, is_embedded=True),
        video("failed", VideoStatus.FAILED),
        video("unavailable", VideoStatus.UNAVAILABLE),
    ) == {"download_videos": ("pending",), "extract_frames": ("downloaded",), "embed_frames": ("extracted",)}


def test_plan_video_work__waits_for_others_where_asked_to() -> None:
    busy = [video("downloading", VideoStatus.DOWNLOADING), video("extracting", VideoStatus.EXTRACTING)]
    assert [work.wanted for work in plan_video_work(busy, NOW)] == [(), (), ()]
    waiting = plan_video_work(busy, NOW, wait_for_others=True)
    assert [work.wanted for work in waiting] == [("downloading",), ("extracting",), ()]


def test_plan_video_work__failed_videos_wait_for_their_date() -> None:
    assert work_by_job(
        video("due", VideoStatus.FAILED, retry_after=EARLIER),
        video("not-due", VideoStatus.FAILED, retry_after=LATER),
        video("withheld", VideoStatus.UNAVAILABLE, retry_after=LATER),
        video("back", VideoStatus.UNAVAILABLE, retry_after=NOW),
        video("held-back", VideoStatus.PENDING, retry_after=LATER),
    )["download_videos"] == ("due", "back")


def test_plan_video_work__what_failed_after_its_download_is_not_downloaded_again() -> None:
    undecodable = video("undecodable", VideoStatus.FAILED, retry_after=EARLIER, has_file=True)
    assert work_by_job(undecodable)["extract_frames"] == ("undecodable",)
    assert work_by_job(undecodable)["download_videos"] == ()


def test_plan_stage_ranges__leaves_out_what_is_in_flight_and_caps_the_tick() -> None:
    work = StageWork("download_videos", wanted=("a", "b", "c", "d", "e"), finished=())
    assert plan_stage_ranges(work, list("abcde"), {"c"}, max_keys=25, max_ranges=9) == [
        PartitionRange("a", "b", 2),
        PartitionRange("d", "e", 2),
    ]
    assert plan_stage_ranges(work, list("abcde"), set(), max_keys=1, max_ranges=2) == [
        PartitionRange("a", "a", 1),
        PartitionRange("b", "b", 1),
    ]
    assert plan_stage_ranges(work, list("abcde"), set("abcde"), max_keys=25, max_ranges=9) == []


def test_is_settled__failed_and_unavailable_never_hold_a_project() -> None:
    settled = {
        (status, retry_after): is_settled(video("v", status, retry_after=retry_after), NOW)
        for status in VideoStatus
        for retry_after in (None, LATER, EARLIER)
    }
    assert {case for case, is_it in settled.items() if is_it} == {
        (VideoStatus.FAILED, None),
        (VideoStatus.FAILED, LATER),
        (VideoStatus.UNAVAILABLE, None),
        (VideoStatus.UNAVAILABLE, LATER),
    }
    assert is_settled(video("v", VideoStatus.EXTRACTED, is_embedded=True), NOW)


def test_needs_sourcing__new_and_changed() -> None:
    assert needs_sourcing(project(None))
    assert needs_sourcing(project("another"))
    assert not needs_sourcing(project())


def plan(
    *videos: VideoState, wait_for_all: bool = True, num_released_videos: int = 0, sourced: str | None = "hash"
) -> DatasetPlan:
    return plan_dataset(
        project(sourced),
        videos,
        NOW,
        wait_for_all=wait_for_all,
        min_new_videos=2,
        num_released_videos=num_released_videos,
    )


READY = [video(key, VideoStatus.EXTRACTED, is_embedded=True) for key in "ab"]
OPEN = video("open", VideoStatus.DOWNLOADING)
FAILED = video("failed", VideoStatus.FAILED)


def test_plan_dataset__waits_for_the_last_video_but_not_for_failed_ones() -> None:
    assert plan(*READY, FAILED).is_ready
    assert not plan(*READY, OPEN).is_ready
    assert "1 of 3" in plan(*READY, OPEN).reason


def test_plan_dataset__grows_before_the_last_video_if_asked_to() -> None:
    assert plan(*READY, OPEN, wait_for_all=False).is_ready
    assert not plan(*READY, OPEN, wait_for_all=False, num_released_videos=1).is_ready


def test_plan_dataset__nothing_to_build() -> None:
    assert not plan().is_ready
    assert not plan(*READY, sourced=None).is_ready


def test_plan_dataset__inputs_change_with_what_people_said_of_frames() -> None:
    inputs = {
        plan_dataset(
            replace(project(), verdicts=said),
            READY,
            NOW,
            wait_for_all=True,
            min_new_videos=1,
            num_released_videos=0,
        ).inputs
        for said in (None, "keep", "drop")
    }
    assert len(inputs) == 3
    assert plan(*READY).inputs in inputs


def test_plan_dataset__inputs_change_with_the_models() -> None:
    plans = [
        plan_dataset(project(models=models), READY, NOW, wait_for_all=True, min_new_videos=1, num_released_videos=0)
        for models in ("old", "new")
    ]
    assert plans[0].inputs != plans[1].inputs


def test_plan_dataset__inputs_change_with_the_ready_videos_alone() -> None:
    assert plan(*READY).inputs == plan(*READY, FAILED).inputs == plan(*READY, OPEN).inputs
    assert plan(*READY).inputs != plan(READY[0]).inputs
