"""Tests how a release's cost is worded, in units that are the same on every machine."""

from typing import Any

import pytest

from data_miner_dagster.export.effort import effort_rows

EFFORT = {
    "num_videos": 1200,
    "videos_size_bytes": 34_500_000_000,
    "videos_seconds": 45_000.0,
    "num_frames": 22_500,
    "models": [{"role": "detector", "name": "yolo11n", "num_images": 1}],
    "labels_size_bytes": 12_000,
}
TAIL = [("size of the images", "9 MB"), ("size of labels and tables", "12 kB")]


def _rows(**more: Any) -> list[tuple[str, str]]:
    return effort_rows({"images_size_bytes": 9_000_000, "effort": EFFORT | more})


def test_effort_rows__all_that_every_release_has() -> None:
    assert effort_rows({"images_size_bytes": 9_000_000}) == []  # written by an earlier version
    assert _rows() == [
        ("videos fetched or copied", "1,200"),
        ("size of these videos", "34.5 GB"),
        ("length of these videos", "12.50 h"),
        ("frames sampled", "22,500"),
        ("images examined by yolo11n (detector)", "1"),
        *TAIL,
    ]


@pytest.mark.parametrize(("seconds", "wanted"), [(14.004, "14 s"), (750.0, "12.5 min"), (3600.0, "1.00 h")])
def test_effort_rows__the_length_has_a_fitting_unit(seconds: float, wanted: str) -> None:
    assert dict(_rows(videos_seconds=seconds))["length of these videos"] == wanted


PRICE = "price of judge, in the currency of its prices"


@pytest.mark.parametrize(
    ("prices", "wanted"),
    [
        ({}, []),
        ({"price_per_box": 0.002}, [(PRICE, "5 (0.002 per box)")]),
        (
            {"price_per_million_tokens": [1.5, 6.0], "num_tokens": [2_000_000, 50_000]},
            [
                ("tokens of judge", "2,000,000 input and 50,000 output"),
                (PRICE, "3.3 (1.5 per million input tokens and 6 per million output tokens)"),
            ],
        ),
        (
            {"price_per_million_tokens": [1.5, 6.0]},
            [
                (
                    PRICE,
                    "unknown, since it does not state its tokens "
                    "(1.5 per million input tokens and 6 per million output tokens)",
                )
            ],
        ),
    ],
)
def test_effort_rows__of_some(prices: dict[str, object], wanted: list[tuple[str, str]]) -> None:
    rows = _rows(num_pictures_around=180_000, verifier={"name": "judge", "num_boxes": 2500} | prices)
    assert rows[5:] == [
        ("pictures around them, examined by each detector to follow objects", "at most 180,000"),
        ("boxes judged by judge (verifier)", "2,500"),
        *wanted,
        *TAIL,
    ]
