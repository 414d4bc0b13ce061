"""Test that only workers decode the pictures of a folder, which are stored exactly as strangers wrote them.

Pictures, files, catalog and workers are real. The models are planted, since it does not matter what they detect.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.ImageFile import ImageFile

from data_miner_dagster.config.deduplication import DeduplicationConfig
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.domain.errors import UnreadableImageError
from data_miner_dagster.domain.records import (
    OutcomeStatus,
    PictureFile,
)
from data_miner_dagster.media.foreign_pictures import small_picture
from data_miner_dagster.media.images import read_stored_image, read_stored_image_reduced
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.deduplication.trial import try_dedup
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.detection.trial import try_detect
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.filtering.trial import try_filter
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reporting.previews import (
    dataset_preview,
    detections_preview,
    filtering_preview,
    frames_preview,
)
from data_miner_dagster.operations.trials import write_contact_sheet
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster.workers.pool import WorkerPool
from data_miner_dagster_tests.operations.foreign import deadly_jobs
from data_miner_dagster_tests.operations.foreign.planted_pictures import (
    BRIGHT,
    NUM_PICTURES,
    PROJECT,
    brightness_of_tiles,
    coded,
    contents,
    listed,
    planted_models,
)
from data_miner_dagster_tests.support.coloured_frames import GREEN, RED, ColourPlatform, plant_video


@pytest.fixture
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make each attempt of this process to decode one of the pictures fail, and return a list that will name them."""
    known = {hashlib.sha256(content).hexdigest(): name for name, content in contents().items()}
    tries: list[str] = []

    def check(content: bytes) -> None:
        if (name := known.get(hashlib.sha256(content).hexdigest())) is not None:
            tries.append(name)
            raise AssertionError(f"{name} was to be decoded in the process of the run")

    imdecode, imread, opened = cv2.imdecode, cv2.imread, ImageFile.__init__

    def checked_imdecode(buffer: npt.NDArray[np.uint8], *arguments: Any) -> Any:
        check(buffer.tobytes())
        return imdecode(buffer, *arguments)

    def checked_imread(name: str, *arguments: Any) -> Any:
        check(Path(name).read_bytes())
        return imread(name, *arguments)

    def checked_open(self: ImageFile, fp: Any = None, filename: Any = None) -> None:
        check(fp.getvalue() if isinstance(fp, io.BytesIO) else Path(getattr(fp, "name", fp)).read_bytes())
        opened(self, fp, filename)

    monkeypatch.setattr(cv2, "imdecode", checked_imdecode)
    monkeypatch.setattr(cv2, "imread", checked_imread)
    monkeypatch.setattr(ImageFile, "__init__", checked_open)
    return tries


def test_run__no_foreign_picture_is_decoded_in_its_process(tmp_path: Path, decoded_here: list[str]) -> None:
    platform, key = listed(tmp_path, contents())
    download_videos(platform, [key])
    extract_frames(platform, [key])
    assert {
        path.read_bytes() for path in platform.layout.frames_folder(key).iterdir() if path.suffix != ".parquet"
    } == set(contents().values())

    [embedded] = embed_frames(platform, [key])
    assert (embedded.metadata["num_embedded"], embedded.message) == (NUM_PICTURES, "")
    filter_project(platform, PROJECT)
    deduplicate_project(platform, PROJECT)
    assert detect_project(platform, PROJECT).counts["frames"] == NUM_PICTURES
    assert release_project(platform, PROJECT).counts["images"] == NUM_PICTURES

    previews = [frames_preview(platform, key)]
    previews += [preview(platform, PROJECT) for preview in (filtering_preview, detections_preview, dataset_preview)]
    for preview in previews:
        assert preview is not None
        assert min(brightness_of_tiles(preview.sheet)) > BRIGHT
    report = (platform.layout.report_folder(PROJECT) / "index.html").read_text()
    assert report.count("data:image/webp") >= 3 * NUM_PICTURES
    exported = export_release(platform, PROJECT, format="crops", to=tmp_path / "crops")
    assert exported.num_images == NUM_PICTURES
    crops = list(exported.folder.rglob("*.jpg"))
    assert len(crops) == NUM_PICTURES
    for crop in crops:
        with Image.open(crop) as opened:
            assert opened.size == (160, 240)
    assert decoded_here == []


def test_try__no_foreign_picture_is_decoded_in_its_process(tmp_path: Path, decoded_here: list[str]) -> None:
    for name, content in contents().items():
        (tmp_path / name).write_bytes(content)
    models = planted_models()
    detection = DetectionConfig.model_validate({"classes": {"thing": []}})
    for trial in (
        try_filter(models, FilteringConfig.model_validate({"positive": ["a thing"]}), tmp_path),
        try_dedup(models, DeduplicationConfig(), tmp_path),
        try_detect(models, detection, tmp_path, threshold=0.1),
    ):
        assert len(trial.rows) == NUM_PICTURES
        assert write_contact_sheet(trial, tmp_path / "sheet.webp") == NUM_PICTURES
        brightness = brightness_of_tiles((tmp_path / "sheet.webp").read_bytes())
        (tmp_path / "sheet.webp").unlink()
        assert len(brightness) == NUM_PICTURES
        assert min(brightness) > BRIGHT
    assert decoded_here == []


def test_decoded_here__sees_every_decoder(tmp_path: Path, decoded_here: list[str]) -> None:
    for name, content in contents().items():
        (tmp_path / name).write_bytes(content)
        file = PictureFile(tmp_path / name, is_foreign=False)
        sha256 = hashlib.sha256(content).hexdigest()
        with StoredPictures(ExtractionConfig()) as pictures:
            for read in (
                lambda file=file, sha256=sha256: pictures.read(file, sha256),
                lambda file=file, sha256=sha256: pictures.read_reduced(file, sha256, 32),
                lambda file=file: pictures.see(file),
                lambda file=file: Image.open(file.path),
            ):
                with pytest.raises(AssertionError, match="was to be decoded"):
                    read()
    assert len(decoded_here) == 4 * NUM_PICTURES


@pytest.mark.parametrize("name", sorted(contents()))
def test_stored_pictures__the_same_pixels_whoever_decodes_them(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, contents()[name]
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    with StoredPictures(ExtractionConfig()) as pictures:
        own, foreign = PictureFile(path, is_foreign=False), PictureFile(path, is_foreign=True)
        whole, reduced, seen = (
            read_stored_image(path, sha256),
            read_stored_image_reduced(path, sha256, 100),
            [small_picture(path, wanted) for wanted in (None, (240, 135))],
        )
        assert np.array_equal(pictures.read(own, sha256), whole)
        assert np.array_equal(pictures.read_reduced(own, sha256, 100), reduced)
        assert pictures.see(own).full_wh == (640, 480)
        assert pictures.process_ids == []
        assert np.array_equal(pictures.read(foreign, sha256), whole)
        assert np.array_equal(pictures.read_reduced(foreign, sha256, 100), reduced)
        for wanted, expected in zip((None, (240, 135)), seen, strict=True):
            found = pictures.see(foreign, wanted)
            assert np.array_equal(found.rgb, expected.rgb)
            assert found.full_wh == expected.full_wh == (640, 480)
        assert len(pictures.process_ids) == 1


def test_stored_pictures__says_the_same_of_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    sha256 = hashlib.sha256(b"<html>").hexdigest()
    with StoredPictures(ExtractionConfig()) as pictures:
        for is_foreign in (False, True):
            file = PictureFile(path, is_foreign)
            path.unlink(missing_ok=True)
            for read in (lambda file=file: pictures.read(file, sha256), lambda file=file: pictures.see(file)):
                with pytest.raises(UnreadableImageError, match=r"a\.jpg is missing"):
                    read()
            path.write_bytes(b"<html>")
            with pytest.raises(UnreadableImageError, match=r"has changed since it was stored"):
                pictures.read(file, "0" * 64)
            with pytest.raises(UnreadableImageError, match=r"a\.jpg cannot be decoded as an image"):
                pictures.read_reduced(file, sha256, 100)
            with pytest.raises(UnreadableImageError, match="not a JPEG, PNG"):
                pictures.see(file)


def _with_comment(comment: bytes) -> dict[str, bytes]:
    return {**contents(), "3.jpg": coded(3, "JPEG", quality=90, comment=comment)}


def _set_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_miner_dagster.operations.foreign.media_workers.JOBS_MODULE", deadly_jobs.MODULE)


def test_embed_frames__a_worker_that_dies_over_a_picture_takes_that_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, key = listed(tmp_path, _with_comment(deadly_jobs.DEADLY))
    download_videos(platform, [key])
    extract_frames(platform, [key])
    with monkeypatch.context() as patched:
        _set_jobs(patched)
        [embedded] = embed_frames(platform, [key])
    assert embedded.status is OutcomeStatus.DONE
    assert (embedded.metadata["num_embedded"], embedded.metadata["num_unreadable"]) == (NUM_PICTURES - 1, 1)
    assert "1 frame could not be embedded: the process for decoding" in embedded.message
    assert "000003.jpg was ended by SIGKILL" in embedded.message

    filter_project(platform, PROJECT)
    decided = read_table(platform.layout.filtered_table(PROJECT), ["frame_id", "drop_reason"]).to_pylist()
    assert [row["drop_reason"] for row in decided] == [None, None, None, "unreadable", None]
    deduplicate_project(platform, PROJECT)
    detect_project(platform, PROJECT)
    assert release_project(platform, PROJECT).counts["images"] == NUM_PICTURES - 1


def test_later_stages__a_worker_that_dies_over_a_picture_takes_that_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, key = listed(tmp_path, _with_comment(deadly_jobs.DEADLY))
    download_videos(platform, [key])
    extract_frames(platform, [key])
    embed_frames(platform, [key])
    filter_project(platform, PROJECT)
    deduplicate_project(platform, PROJECT)
    with monkeypatch.context() as patched:
        _set_jobs(patched)
        counts = detect_project(platform, PROJECT).counts
        assert (counts["frames"], counts["unreadable_frames"]) == (NUM_PICTURES - 1, 1)
        shown = frames_preview(platform, key)
        assert shown is not None
        assert [value > BRIGHT for value in brightness_of_tiles(shown.sheet)] == [True, True, True, False, True]

    assert detect_project(platform, PROJECT).counts["frames"] == NUM_PICTURES
    release_project(platform, PROJECT)
    _set_jobs(monkeypatch)
    exported = export_release(platform, PROJECT, format="crops", to=tmp_path / "crops")
    assert exported.num_images == NUM_PICTURES - 1
    assert "000003.jpg was ended by SIGKILL" in exported.left_out[f"{key}/000003"]
    assert len(list(exported.folder.rglob("*.jpg"))) == NUM_PICTURES - 1


def test_embed_frames__a_worker_that_somebody_else_ends_costs_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, key = listed(tmp_path, _with_comment(deadly_jobs.DEADLY_ONCE))
    download_videos(platform, [key])
    extract_frames(platform, [key])
    _set_jobs(monkeypatch)
    [embedded] = embed_frames(platform, [key])
    assert (embedded.metadata["num_embedded"], embedded.metadata["num_unreadable"]) == (NUM_PICTURES, 0)
    assert platform.layout.frame_path(key, "000003.died").exists()


def test_read__a_picture_that_holds_its_worker_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set_jobs(monkeypatch)
    monkeypatch.setattr("data_miner_dagster.operations.foreign.media_workers._PICTURE_SECONDS", 3.0)
    holding, harmless = coded(0, "JPEG", comment=deadly_jobs.HOLDING), coded(1, "PNG")
    (tmp_path / "holding.jpg").write_bytes(holding)
    (tmp_path / "harmless.png").write_bytes(harmless)
    with StoredPictures(ExtractionConfig()) as pictures:
        other = PictureFile(tmp_path / "harmless.png", is_foreign=True)
        pictures.see(other)  # so that the worker has finished its imports
        with pytest.raises(UnreadableImageError, match=r"decoding .*holding\.jpg takes longer than 3 s"):
            pictures.read(PictureFile(tmp_path / "holding.jpg", is_foreign=True), hashlib.sha256(holding).hexdigest())
        assert pictures.read(other, hashlib.sha256(harmless).hexdigest()).shape == (480, 640, 3)


def test_embed_frames__frames_of_videos_need_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = ColourPlatform(tmp_path)
    plant_video(platform, "file-a", RED, GREEN)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no worker was to be asked")

    monkeypatch.setattr(WorkerPool, "_worker", refuse)
    assert embed_frames(platform, ["file-a"])[0].metadata["num_embedded"] == 2
    assert frames_preview(platform, "file-a") is not None

    plant_video(platform, "frames-b", RED)
    [embedded] = embed_frames(platform, ["frames-b"])
    assert "no worker was to be asked" in embedded.message
