import pytest

from data_miner_dagster.domain.measurements import AMOUNTS, Measured
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.stages.costs import Cost, achieved, cost_line, cost_rows, sharing_line

DOWNLOADING = Measured(
    num_items=3,
    num_failed=1,
    num_requests=6,
    bytes_received=3_000_000,
    cpu_seconds=1.5,
    wall_seconds=8,
    floor_seconds=6,
)
DETECTION = Measured(num_items=1, cpu_seconds=58.5, gpu_seconds=30, wall_seconds=60, floor_seconds=30, num_boxes=20)
RELEASING = Measured(num_items=1, wall_seconds=4, num_frames=10)
COST = Cost(
    {WorkStage.DOWNLOADING: DOWNLOADING, WorkStage.DETECTION: DETECTION, WorkStage.RELEASING: RELEASING},
    num_images=10,
    num_boxes=20,
    num_shared_videos=2,
    num_sharing_projects=1,
)


def test_cost__nothing_measured() -> None:
    told = Cost({}).as_json()
    assert told["total"] == dict.fromkeys(AMOUNTS, 0)
    assert (told["per_image"], told["per_box"], told["stages"]) == (None, None, [])
    assert cost_rows(told) == []
    assert sharing_line(told) == ""
    assert cost_line(told) == "0 s CPU in all"


def test_cost__total_and_rates() -> None:
    told = COST.as_json()
    assert told["total"]["cpu_seconds"] == 60
    assert told["per_image"] == {"num_requests": 0.6, "bytes_received": 300_000, "cpu_seconds": 6, "gpu_seconds": 3}
    assert told["per_box"] == {"num_requests": 0.3, "bytes_received": 150_000, "cpu_seconds": 3, "gpu_seconds": 1.5}
    for name in AMOUNTS:
        assert told["total"][name] == sum(stage[name] for stage in told["stages"])
    assert cost_line(told) == (
        "6 requests, 3 MB received, 1.0 min CPU, 30 s GPU in all; "
        "0.6 requests, 300 kB received, 6 s CPU, 3 s GPU per image; "
        "0.3 requests, 150 kB received, 3 s CPU, 1.5 s GPU per box"
    )


@pytest.mark.parametrize(
    ("stage", "spent", "share"),
    [
        (WorkStage.DOWNLOADING, DOWNLOADING, 0.75),
        (WorkStage.DETECTION, DETECTION, 0.5),
        (WorkStage.RELEASING, DOWNLOADING, None),  # releasing has no floor
        (WorkStage.DOWNLOADING, Measured(wall_seconds=8), None),  # nothing was received
        (WorkStage.EXTRACTION, Measured(wall_seconds=1, floor_seconds=1.001), 1.0),  # read moments apart
    ],
)
def test_achieved__share_of_the_time(stage: WorkStage, spent: Measured, share: float | None) -> None:
    assert achieved(stage, spent) == share


def test_cost_rows__a_stage_each_and_the_sum() -> None:
    rows = cost_rows(COST.as_json())
    assert rows[0] == ["downloading", "3", "1", "6", "3 MB", "0 B", "1.5 s", "0 s", "8 s", "75 % receiving the bytes"]
    assert [row[0] for row in rows] == ["downloading", "detection", "releasing", "all"]
    assert rows[-1][6:] == ["1.0 min", "30 s", "1.2 min", ""]


def test_sharing_line__says_that_the_cost_counts_twice() -> None:
    assert sharing_line(COST.as_json()) == (
        "2 videos are shared with 1 other project: the cost of their download, frames and embeddings counts in full in "
        "every project."
    )
