"""Test folders of pictures: good pictures are stored and measured, bad ones are named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import VideoPermanentError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.operations.extraction.importing import import_frame_folder
from data_miner_dagster.operations.foreign.media_requests import FrameFolderJob
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.media.test_foreign_pictures import GREY, PHOTO, bomb, coded, png_of_16_bits, turned


def job_of(folder: Path, contents: dict[str, bytes]) -> FrameFolderJob:
    source, target = folder / "pictures", folder / "frames"
    source.mkdir()
    target.mkdir()
    for name, content in contents.items():
        (source / name).write_bytes(content)
    config = ExtractionConfig.model_validate({"limits": {"max_pixels": 10**6}})
    return FrameFolderJob("frames-1", Path(), target, "fingerprint", config, 1, tuple(sorted(source.iterdir())))


def test_import_frame_folder__one_bad_picture_ends_no_folder(tmp_path: Path) -> None:
    photo = coded(PHOTO, "JPEG", quality=95)
    job = job_of(
        tmp_path,
        {
            "1.jpg": photo,
            "2_bomb.png": bomb(40_000, 40_000),
            "3_empty.jpg": b"",
            "4_cut.jpg": photo[: len(photo) // 2],
            "5_phone.jpg": coded(PHOTO, "MPO", save_all=True, append_images=[PHOTO.resize((80, 60))]),
            "6_large.jpg": coded(PHOTO.resize((1600, 1200)), "JPEG"),
            "7_turned.jpg": coded(PHOTO, "JPEG", exif=turned(6)),
            "8_thermal.png": png_of_16_bits(GREY),
        },
    )
    summary = import_frame_folder(job)
    assert [line.partition(":")[0] for line in summary.left_out] == [
        "2_bomb.png",
        "3_empty.jpg",
        "4_cut.jpg",
        "6_large.jpg",
    ]
    assert "1600x1200 pixels, more than the limit of 1,000,000" in summary.left_out[3]
    assert (summary.num_frames, summary.num_unmet) == (4, 4)
    assert "3_empty.jpg: the picture's file is empty" in str(summary.as_metadata()["left_out"])
    rows = read_table(job.folder / "frames.parquet").to_pylist()
    assert [row["source_frame_number"] for row in rows] == [0, 4, 6, 7]
    assert [(row["width"], row["height"]) for row in rows] == [(160, 120), (160, 120), (120, 160), (160, 120)]
    for row in rows:
        with Image.open(job.folder / row["file_name"]) as stored:
            assert stored.size == (row["width"], row["height"])
            assert stored.getexif().get(0x0112, 1) == 1
    assert (job.folder / rows[0]["file_name"]).read_bytes() == photo
    assert rows[3]["brightness"] == pytest.approx(float(np.mean(GREY)), abs=0.5)
    assert rows[3]["quality_flag"] != "flat"


def test_import_frame_folder__no_good_picture(tmp_path: Path) -> None:
    job = job_of(tmp_path, {"1.png": b"", "2.png": b"junk"})
    with pytest.raises(VideoPermanentError, match=r"1\.png: the picture's file is empty") as failure:
        import_frame_folder(job)
    assert failure.value.kind is VideoErrorKind.UNDECODABLE
