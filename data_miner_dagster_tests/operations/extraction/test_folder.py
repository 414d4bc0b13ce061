"""Test every strategy on real clips whose pictures show their frame numbers."""

from fractions import Fraction
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from skimage import data

from data_miner_dagster.config.extraction import ExtractionConfig, ExtractionLimitsConfig
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.media.containers import open_video
from data_miner_dagster.media.decoding import DecodeTally, decode_targets
from data_miner_dagster.media.indexes import read_group_index
from data_miner_dagster.models.packages import fetch_samples
from data_miner_dagster.operations.extraction.folder import make_frame_folder
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob, FrameFolderSummary
from data_miner_dagster.stages.extraction import plan_decoding
from data_miner_dagster.storage.tables import read_fingerprint, read_table
from data_miner_dagster_tests.support.barcode_clips import make_clip, read_barcode, read_barcode_file


def make_frames(clip: Path, folder: Path, **settings: Any) -> tuple[FrameFolderSummary, list[dict[str, Any]]]:
    folder.mkdir()
    job = FrameFolderJob("file-1", clip, folder, "fingerprint", ExtractionConfig.model_validate(settings))
    summary = make_frame_folder(job)
    return summary, read_table(folder / "frames.parquet").to_pylist()


def numbers_in(folder: Path) -> list[int]:
    return [read_barcode_file(path) for path in sorted(folder.glob("*.*g"))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a clip of 100 frames at 30000/1001 fps, with a keyframe every 30 and three B-frames between references."""
    return make_clip(
        tmp_path_factory.mktemp("clips") / "clip.mp4",
        num_frames=100,
        frame_rate=Fraction(30000, 1001),
        options={"bf": "3", "b_strategy": "0"},
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # frame 30 begins at 1.001 s, so frame 29 is on screen at 1 s
        ({"strategy": "time", "every_seconds": 1.0}, [0, 29, 59, 89]),
        ({"strategy": "time", "every_seconds": 1.0, "snap_tolerance_seconds": 0.1}, [0, 30, 60, 90]),
        ({"strategy": "interval", "every_frames": 33}, [0, 33, 66, 99]),
        ({"strategy": "keyframe"}, [0, 30, 60, 90]),
        ({"strategy": "uniform", "num_frames": 4}, [12, 37, 62, 87]),
        # turning the bars is not a cut at this threshold, so the clip is one shot
        ({"strategy": "scene", "scene_threshold": 60.0}, [50]),
        ({"strategy": "interval", "every_frames": 1}, list(range(100))),
        ({"strategy": "interval", "every_frames": 1, "max_frames_per_video": 2}, [25, 75]),
    ],
)
def test_make_frame_folder__every_strategy(
    clip: Path, tmp_path: Path, settings: dict[str, Any], expected: list[int]
) -> None:
    summary, rows = make_frames(clip, tmp_path / "frames", **settings)
    assert numbers_in(tmp_path / "frames") == expected
    assert summary.num_frames == len(rows) == len(expected)
    assert summary.num_source_frames == 100
    assert summary.num_unmet == 0
    assert [row["source_frame_number"] for row in rows] == expected
    assert [row["frame_id"] for row in rows] == [f"file-1/{i:06d}" for i in range(len(rows))]
    for row in rows:
        exact = Fraction(row["pts"] * row["time_base_numerator"], row["time_base_denominator"])
        assert exact == Fraction(row["source_frame_number"] * 1001, 30000)
        assert row["pts_seconds"] == float(exact)
        assert row["is_keyframe"] == (row["source_frame_number"] % 30 == 0)
        content = (tmp_path / "frames" / row["file_name"]).read_bytes()
        assert (row["size_bytes"], row["sha256"]) == (len(content), sha256(content).hexdigest())
        assert (row["width"], row["height"]) == (192, 128)
        assert row["quality_flag"] is None
    assert read_fingerprint(tmp_path / "frames" / "frames.parquet") == "fingerprint"


def test_make_frame_folder__decodes_less_than_everything(clip: Path, tmp_path: Path) -> None:
    exact, _ = make_frames(clip, tmp_path / "exact", every_seconds=1.0)
    snapped, _ = make_frames(clip, tmp_path / "snapped", every_seconds=1.0, snap_tolerance_seconds=0.1)
    assert exact.num_decoded < 60
    assert snapped.num_decoded == 4


def test_make_frame_folder__keyframes_by_the_list(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=240, gop=60, options={"bf": "2"})
    summary, rows = make_frames(clip, tmp_path / "listed", strategy="keyframe")
    assert [row["source_frame_number"] for row in rows] == numbers_in(tmp_path / "listed") == [0, 60, 120, 180]
    assert (summary.num_source_frames, summary.num_decoded) == (240, 4)
    # Three gaps of 2 s are filled with frames that are not on the list.
    _, rows = make_frames(clip, tmp_path / "filled", strategy="keyframe", max_gap_seconds=1.0)
    assert [row["source_frame_number"] for row in rows] == numbers_in(tmp_path / "filled")
    assert len(rows) == 8
    with pytest.raises(VideoPermanentError, match="max_source_frames=239"):
        make_frames(clip, tmp_path / "limited", strategy="keyframe", limits={"max_source_frames": 239})


def test_decode_targets__short_groups_are_read_over(tmp_path: Path) -> None:
    """Reading eleven packets is faster than a seek, whether or not they are in the index."""
    clip = make_clip(tmp_path / "clip.mp4", num_frames=240, gop=12, options={"bf": "2"})
    with open_video(clip) as stream:
        index = read_group_index(stream, choose=lambda _: np.array([3], np.int64))
        assert index is not None
        plan = plan_decoding(index, index.keyframe_pts)
        frames = [frame for _, frame in decode_targets(stream, index, plan, DecodeTally())]
    pictures = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]
    assert [read_barcode(picture) for picture in pictures] == list(range(0, 240, 12))
    assert len(plan.seeks) == 1
    assert len(plan.restarts) == 19


def test_make_frame_folder__sparse_times_by_their_groups(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", num_frames=600, gop=30, options={"bf": "2"})
    summary, rows = make_frames(clip, tmp_path / "frames", every_seconds=4.5)
    assert [row["source_frame_number"] for row in rows] == numbers_in(tmp_path / "frames") == [0, 135, 270, 405, 540]
    assert summary.num_source_frames == 600
    assert summary.num_decoded < 40


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"strategy": "keyframe", "max_gap_seconds": None}, [0, 30, 60]),
        ({"strategy": "time", "every_seconds": 2.0}, [0, 60]),
        ({"strategy": "interval", "every_frames": 45}, [0, 45]),
    ],
)
def test_make_frame_folder__list_goes_on_beyond_a_cut(
    tmp_path: Path, settings: dict[str, Any], expected: list[int]
) -> None:
    clip = make_clip(
        tmp_path / "cut.mp4", num_frames=120, gop=30, options={"bf": "2"}, container_options={"movflags": "faststart"}
    )
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    summary, rows = make_frames(clip, tmp_path / "frames", **settings)
    assert [row["source_frame_number"] for row in rows] == numbers_in(tmp_path / "frames") == expected
    assert 60 < summary.num_source_frames < 90


@pytest.mark.parametrize("strategy", ["time", "interval", "keyframe", "scene", "uniform"])
def test_make_frame_folder__same_bytes_whatever_the_threads(clip: Path, tmp_path: Path, strategy: str) -> None:
    contents = []
    for run, num_threads in enumerate((1, 2)):
        folder = tmp_path / str(run)
        folder.mkdir()
        make_frame_folder(
            FrameFolderJob(
                "file-1", clip, folder, "f", ExtractionConfig.model_validate({"strategy": strategy}), num_threads
            )
        )
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


def test_make_frame_folder__slides_are_marked_and_stored(tmp_path: Path) -> None:
    photo = cv2.resize(data.chelsea(), (640, 360))
    card = np.full((360, 640, 3), 240, np.uint8)
    for line in range(4):
        cv2.putText(
            card, "a line of words on a slide", (40, 90 + 60 * line), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2
        )
    path = tmp_path / "talk.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for picture in (photo, card, photo, card):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    summary, rows = make_frames(path, tmp_path / "marked", quality={"slide_plain_share": 0.6, "text_share": 0.06})
    assert [row["quality_flag"] for row in rows] == [None, "slide", None, "slide"]
    assert summary.num_frames_by_flag == {"slide": 2}
    assert all(row["text_share"] > 0.06 and row["plain_share"] > 0.6 for row in rows[1::2])
    _, only_text = make_frames(path, tmp_path / "text", quality={"text_share": 0.06})
    assert [row["quality_flag"] for row in only_text] == [None, "text", None, "text"]
    _, unmarked = make_frames(path, tmp_path / "unmarked")
    assert [(row["quality_flag"], row["text_share"], row["plain_share"]) for row in unmarked] == [
        (None, None, None)
    ] * 4


def test_make_frame_folder__variable_rate_and_start_offset(tmp_path: Path) -> None:
    pts = [500, 540, 1700, 1740, 2600, 2640]  # in milliseconds
    clip = make_clip(
        tmp_path / "variable.mkv", num_frames=6, pts=pts, time_base=Fraction(1, 1000), frame_rate=Fraction(25)
    )
    _, rows = make_frames(clip, tmp_path / "frames", every_seconds=1.0)
    # on screen at .5, 1.5 and 2.5 s
    assert numbers_in(tmp_path / "frames") == [0, 1, 3]
    assert [row["pts_seconds"] for row in rows] == [0.5, 0.54, 1.74]


@pytest.mark.parametrize("name", ["counted.avi", "raw.h264"])
def test_make_frame_folder__container_without_presentation_times(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, num_frames=40, options={"bf": "2", "b_strategy": "0"})
    summary, _ = make_frames(clip, tmp_path / "frames", strategy="interval", every_frames=10)
    assert numbers_in(tmp_path / "frames") == [0, 10, 20, 30]
    assert summary.num_source_frames == 40


def test_make_frame_folder__cut_off_file_gives_what_it_has(tmp_path: Path) -> None:
    whole = make_clip(
        tmp_path / "whole.mp4", num_frames=100, container_options={"movflags": "faststart"}, options={"bf": "3"}
    )
    short = tmp_path / "short.mp4"
    short.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    summary, rows = make_frames(short, tmp_path / "frames", strategy="interval", every_frames=10)
    assert numbers_in(tmp_path / "frames") == [row["source_frame_number"] for row in rows]
    assert 3 <= summary.num_frames <= 8
    assert summary.num_unmet == 0


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("missing.mp4", None, VideoErrorKind.MISSING_FILE),
        ("empty.mp4", b"", VideoErrorKind.EMPTY_FILE),
        ("page.mp4", b"<!doctype html><html><body>Not found</body></html>" * 20, VideoErrorKind.NOT_A_VIDEO),
        ("noise.mp4", bytes(range(256)) * 64, VideoErrorKind.NOT_A_VIDEO),
    ],
)
def test_make_frame_folder__not_a_video(tmp_path: Path, name: str, content: bytes | None, kind: VideoErrorKind) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoPermanentError) as failure:
        make_frames(tmp_path / name, tmp_path / "frames")
    assert failure.value.kind is kind
    assert name in str(failure.value)


def test_make_frame_folder__sound_only(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoPermanentError) as failure:
        make_frames(tmp_path / "sound.mp4", tmp_path / "frames")
    assert failure.value.kind is VideoErrorKind.NO_VIDEO_STREAM


def test_make_frame_folder__header_without_frames(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", num_frames=5, container_options={"movflags": "faststart"})
    content = whole.read_bytes()
    header = tmp_path / "header.mp4"
    header.write_bytes(content[: content.index(b"mdat") + 4])
    with pytest.raises(VideoPermanentError) as failure:
        make_frames(header, tmp_path / "frames")
    assert failure.value.kind is VideoErrorKind.UNDECODABLE


@pytest.mark.parametrize(
    "limits",
    [{"max_pixels": 1000}, {"max_source_frames": 99}, {"max_sampled_frames": 3}],
    ids=lambda limits: str(limits),
)
def test_make_frame_folder__limits(clip: Path, tmp_path: Path, limits: dict[str, int]) -> None:
    with pytest.raises(VideoPermanentError) as failure:
        make_frames(clip, tmp_path / "frames", limits=ExtractionLimitsConfig.model_validate(limits))
    assert failure.value.kind is VideoErrorKind.LIMIT_EXCEEDED
    assert next(iter(limits)) in str(failure.value)


@pytest.mark.models
def test_make_frame_folder__scene_finds_the_cuts_of_a_real_clip(tmp_path: Path) -> None:
    # By eye, the sample clip has cuts at 1.2, 3.04, 5.48, 7.48 and 9.68 s (25 frames a second, 250 frames).
    bounds = [0, 30, 76, 137, 187, 242, 250]
    _, rows = make_frames(fetch_samples()["bikes.mp4"], tmp_path / "frames", strategy="scene")
    middles = [(start + end) // 2 for start, end in pairwise(bounds)]
    assert [row["source_frame_number"] for row in rows] == middles
