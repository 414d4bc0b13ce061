"""Compare estimates of the remaining time with the actual end of simulated runs, whose stages share cores."""

import math
import random
from dataclasses import dataclass, field

import pytest

from data_miner_dagster.stages.remaining import (
    DoneVideo,
    OpenVideo,
    StageWork,
    remaining_seconds,
    share_done,
)

CORES = 2
AT_ONCE = (4, 2, 1)
NUM_VIDEOS = 120
TOLERANCE = 0.25


@dataclass(frozen=True)
class World:
    """What videos cost: seconds of waiting and of CPU time per second of video, and the share of videos that fail."""

    receive: float = 0.05
    decode: float = 0.2
    embed: float = 0.3
    threads_of_embedding: float = 2.0
    share_failing: float = 0.1
    share_slow: float = 0.0
    """The share of videos from a site that is eight times slower."""
    is_lognormal: bool = False


@dataclass
class Job:
    """The work of one stage on one video."""

    stage: int
    video: int
    waits: float
    cpu: float
    threads: float
    began: float
    cpu_in_all: float


@dataclass
class History:
    """What happened in a simulation.

    `jobs` has (stage, video, began, ended, CPU seconds) of each finished job, in the order in which they ended.
    """

    durations: list[float]
    sites: list[str]
    failing: set[int]
    jobs: list[tuple[int, int, float, float, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.jobs[-1][3]


def simulate(world: World, seed: int) -> History:
    """Simulate three stages that process the videos on two cores, which all threads share evenly."""
    chance = random.Random(seed)
    durations = [
        60 * (chance.lognormvariate(1, 1) if world.is_lognormal else math.exp(chance.uniform(0, math.log(20))))
        for _ in range(NUM_VIDEOS)
    ]
    failing = {video for video in range(NUM_VIDEOS) if chance.random() < world.share_failing}
    sites = ["slow" if chance.random() < world.share_slow else "fast" for _ in range(NUM_VIDEOS)]
    history = History(durations, sites, failing)
    queues: list[list[int]] = [list(range(NUM_VIDEOS)), [], []]
    at_work: list[Job] = []
    now = 0.0

    def job_of(stage: int, video: int) -> Job:
        noise, seconds = chance.uniform(0.8, 1.25), durations[video]
        waits = (
            (2 + (0 if video in failing else seconds * world.receive)) * noise * (8 if sites[video] == "slow" else 1)
        )
        cpu = (0.3, (0.5 + seconds * world.decode) * noise, (0.2 + seconds * world.embed) * noise)[stage]
        threads = world.threads_of_embedding if stage == 2 else 1.0
        return Job(stage, video, waits if stage == 0 else 0.0, cpu, threads, now, cpu)

    while at_work or any(queues):
        for stage, queue in enumerate(queues):
            while queue and sum(job.stage == stage for job in at_work) < AT_ONCE[stage]:
                at_work.append(job_of(stage, queue.pop(0)))
        computing = [job for job in at_work if job.waits <= 1e-9]
        share = min(1.0, CORES / max(sum(job.threads for job in computing), 1e-9))
        step = min(
            [job.waits for job in at_work if job.waits > 1e-9] + [job.cpu / job.threads / share for job in computing]
        )
        now += step
        for job in at_work:
            if job.waits > 1e-9:
                job.waits -= step
            else:
                job.cpu -= step * job.threads * share
        for job in [job for job in at_work if job.waits <= 1e-9 and job.cpu <= 1e-9]:
            at_work.remove(job)
            history.jobs.append((job.stage, job.video, job.began, now, job.cpu_in_all))
            if job.stage < 2 and not (job.stage == 0 and job.video in failing):
                queues[job.stage + 1].append(job.video)
    return history


def seen_at(history: History, now: float) -> list[StageWork]:
    """Return what is known about each stage at time `now`, without anything that happens later."""
    ended = [job for job in history.jobs if job[3] <= now]
    begun = [job for job in history.jobs if job[2] <= now < job[3]]
    lost = {video for stage, video, *_ in ended if stage == 0 and video in history.failing}
    downloaded = {video for stage, video, *_ in ended if stage == 0}
    stages = []
    for stage in range(3):
        done = [
            DoneVideo(
                history.durations[video], end - began, cpu, history.sites[video] if stage == 0 else "", video in lost
            )
            for at, video, began, end, cpu in ended
            if at == stage
        ]
        taken = {video: now - began for at, video, began, *_ in begun if at == stage}
        finished = {video for at, video, *_ in ended if at == stage} | lost
        still = [
            OpenVideo(
                history.durations[video],
                history.sites[video] if stage == 0 else "",
                taken.get(video),
                may_be_lost=video not in downloaded,
            )
            for video in range(NUM_VIDEOS)
            if video not in finished
        ]
        first = min((began for at, _, began, *_ in ended + begun if at == stage), default=now)
        stages.append(StageWork(done, still, AT_ONCE[stage], now - first))
    return stages


WORLDS = {
    "the cores are busy": World(),
    "embedding has one thread": World(threads_of_embedding=1.0),
    "embedding is most of it": World(decode=0.02, embed=0.5),
    "decoding is most of it": World(decode=0.5, embed=0.05),
    "the network is slow": World(receive=0.5, decode=0.02, embed=0.03),
    "network and cores are busy": World(receive=0.8, decode=0.2, embed=0.2),
    "one site is slow": World(receive=0.2, decode=0.02, embed=0.05, share_slow=0.15),
    "few videos are very long": World(is_lognormal=True),
    "half of the videos fail": World(share_failing=0.5),
}


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("seed", range(6))
def test_remaining_seconds__after_a_fifth_of_the_run(name: str, seed: int) -> None:
    history = simulate(WORLDS[name], seed)
    now = history.seconds / 5
    left = remaining_seconds(seen_at(history, now), elapsed_seconds=now, num_cores=CORES)
    assert left is not None
    assert now + left == pytest.approx(history.seconds, rel=TOLERANCE)


def test_remaining_seconds__gets_better_and_ends_with_none() -> None:
    history = simulate(World(), 0)
    for share, within in ((0.5, 0.15), (0.8, 0.1), (0.95, 0.1)):
        now = share * history.seconds
        left = remaining_seconds(seen_at(history, now), elapsed_seconds=now, num_cores=CORES)
        assert left is not None
        assert now + left == pytest.approx(history.seconds, rel=within)
    at_the_end = seen_at(history, history.seconds)
    assert remaining_seconds(at_the_end, elapsed_seconds=history.seconds, num_cores=CORES) == 0
    assert share_done(at_the_end) == 1


def test_share_done__grows_from_nothing_to_all() -> None:
    history = simulate(World(), 1)
    shares = [share_done(seen_at(history, share * history.seconds)) for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert 0.05 < shares[1] < 0.4


def test_remaining_seconds__nothing_to_do_or_nothing_seen_yet() -> None:
    assert remaining_seconds([], elapsed_seconds=0, num_cores=1) == 0
    assert remaining_seconds([StageWork([], [], 1, 0)], elapsed_seconds=5, num_cores=1) == 0
    assert remaining_seconds([StageWork([], [OpenVideo(60)], 1, 0)], elapsed_seconds=5, num_cores=1) is None
    assert share_done([StageWork([], [OpenVideo(60)], 1, 0)]) == 0
    assert share_done([]) == 1


@pytest.mark.parametrize("duration", [0.0, 60.0])
def test_remaining_seconds__a_folder_of_pictures_has_no_duration(duration: float) -> None:
    stage = StageWork([DoneVideo(duration, 10)], [OpenVideo(duration)], 1, 10)
    assert remaining_seconds([stage], elapsed_seconds=10, num_cores=1) == pytest.approx(10)


def test_remaining_seconds__a_few_stand_for_many() -> None:
    done = [DoneVideo(60, 10, 1)] * 6
    few = StageWork(done, [OpenVideo(60)] * 5, 2, 30, open_stands_for=100)
    many = StageWork(done, [OpenVideo(60)] * 500, 2, 30)
    for stage in (few, many):
        assert remaining_seconds([stage], elapsed_seconds=30, num_cores=2) == pytest.approx(500 * 10 / 2, rel=0.01)
        assert share_done([stage]) == pytest.approx(60 / 5060)
