"""Test frames of a fixed camera: thumbnails are computed once from stored images and used along with the embeddings."""

import logging

import cv2
import numpy as np
import pytest

from benchmarks.place_pictures import LONGER_SIDE, fixed_camera
from data_miner_dagster.domain.keys import frame_file_name
from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.provider import THUMBNAILS
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.stages.deduplication.views import Views
from data_miner_dagster_tests.support.axis_duplicates import CAT, plant, run, save
from data_miner_dagster_tests.support.axis_project import PlantedPlatform
from data_miner_dagster_tests.support.frames import write_pictures


def yard(*, with_pallet: bool = False, brightness: float = 1.0) -> RgbImage:
    """Return a picture of a place with some texture, with or without a pallet."""
    place = np.random.default_rng(3).integers(40, 160, (9, 16, 3)).astype(np.uint8)
    picture = cv2.resize(place, (640, 360), interpolation=cv2.INTER_CUBIC)
    if with_pallet:
        picture[200:260, 300:400] = (240, 235, 30)
    return np.asarray(np.clip(picture * brightness, 0, 255), np.uint8)


def plant_yard(platform: PlantedPlatform, key: str, pictures: list[RgbImage]) -> None:
    """Add a video of one place whose frames all have the same embedding."""
    plant(platform, key, [CAT] * len(pictures), sharpness=[100 - index for index in range(len(pictures))])
    contents = [cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes() for picture in pictures]
    hashes = [2**40 + 7 * index**3 for index in range(len(pictures))]
    write_pictures(
        platform.layout,
        key,
        contents,
        perceptual_hash=hashes,
        sharpness=[100 - index for index in range(len(pictures))],
        contrast=0.0,
    )
    platform.layout.embedding_file(THUMBNAILS.name, key).unlink()


PICTURES = [
    yard(),
    yard(brightness=0.8),
    yard(with_pallet=True),
    yard(with_pallet=True, brightness=0.85),
    yard(brightness=1.1),
]


def test_deduplicate_project__a_fixed_camera_keeps_each_arrangement(
    platform: PlantedPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="data_miner_dagster.operations.deduplication.distinctions")
    save(platform)
    plant_yard(platform, "site-yard", PICTURES)
    named = {frame_id: representative for frame_id, (representative, _) in run(platform).items()}
    assert [named[f"site-yard/{index:06d}"][-1] for index in range(5)] == ["0", "0", "2", "2", "0"]
    stored = platform.layout.embedding_file(THUMBNAILS.name, "site-yard")
    made_at = stored.stat().st_mtime_ns
    run(platform, force=True)  # uses the stored thumbnails again
    assert caplog.text.count("computed thumbnails of 5 frames") == caplog.text.count("computed thumbnails") == 1
    assert stored.stat().st_mtime_ns == made_at


@pytest.mark.parametrize("where", ["within_videos", "everywhere"])
def test_deduplicate_project__one_camera_in_two_files(platform: PlantedPlatform, where: str) -> None:
    save(platform, same_place=where)
    plant_yard(platform, "site-a", [yard(), yard(with_pallet=True)])
    plant_yard(platform, "site-b", [np.roll(yard(with_pallet=True), -120, axis=1), yard(brightness=0.9)])
    pallet_elsewhere = yard()
    pallet_elsewhere[120:180, 220:320] = (240, 235, 30)
    plant_yard(platform, "site-c", [yard(brightness=0.9), pallet_elsewhere])
    kept = {frame_id for frame_id, (_, tier) in run(platform).items() if tier is None}
    of_first = {"site-a/000000", "site-a/000001"}
    assert kept == (of_first if where == "within_videos" else of_first | {"site-c/000001"})


def test_deduplicate_project__the_view_alone_counts_where_that_is_asked_for(platform: PlantedPlatform) -> None:
    save(platform, same_place="nowhere")
    plant_yard(platform, "site-yard", PICTURES)
    assert {representative for representative, _ in run(platform).values()} == {"site-yard/000000"}
    assert not platform.layout.embedding_file(THUMBNAILS.name, "site-yard").exists()


def test_deduplicate_project__a_picture_that_is_gone(platform: PlantedPlatform) -> None:
    save(platform)
    plant_yard(platform, "site-yard", PICTURES)
    platform.layout.frame_path("site-yard", frame_file_name(2)).unlink()
    assert run(platform) == {}
    assert deduplicate_project(platform, "pets").counts["left_out_videos"] == 1


def test_views__a_place_made_on_the_spot() -> None:
    maker = THUMBNAILS.load()
    # the thresholds were not tuned on seeds from 1000 on
    shown = fixed_camera(1003, num_arrangements=4, frames_a_visit=1)
    assert max(shown[0].image.shape) == LONGER_SIDE
    views = Views(np.stack([maker.preprocess(frame.image) for frame in shown]), np.zeros(len(shown), np.int64))
    rows, others = np.triu_indices(len(shown), 1)
    is_other = [shown[row].arrangement != shown[other].arrangement for row, other in zip(rows, others, strict=True)]
    assert views.are_changed(rows, others).tolist() == is_other
