"""Tests the times given to pictures in streams without timestamps, on constructed streams."""

from fractions import Fraction
from pathlib import Path

import pytest

from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.decoding import index_from_content
from data_miner_dagster_tests.support.barcode_clips import make_clip

MPEG = {"qmin": "2", "qmax": "3"}


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(50)])
@pytest.mark.parametrize(
    ("name", "codec", "container", "options"),
    [
        ("a.m1v", "mpeg1video", "mpeg1video", MPEG),
        ("a.m2v", "mpeg2video", "mpeg2video", {"bf": "2", **MPEG}),
        ("a.h264", "libx264", "h264", {"bf": "2"}),
        ("a.hevc", "libx265", "hevc", {"x265-params": "log-level=none:pools=none"}),
    ],
)
def test_index_from_content__bare_streams(
    tmp_path: Path, name: str, codec: str, container: str, options: dict[str, str], rate: Fraction
) -> None:
    path = make_clip(
        tmp_path / name,
        num_frames=40,
        frame_rate=rate,
        size=(128, 96),
        gop=12,
        codec=codec,
        container_format=container,
        options=options,
    )
    with open_video(path) as stream:
        index = index_from_content(stream)
    assert [int(pts) * index.time_base for pts in index.pts] == pytest.approx([n / rate for n in range(40)], abs=1e-5)
