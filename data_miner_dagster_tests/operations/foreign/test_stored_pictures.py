"""Pictures of a folder are kept as strangers wrote them: whatever reads them later, only workers decode them.

Real pictures, files, catalog and workers; the models are planted, since what they see is not the point.
"""

import hashlib
import io
from collections.abc import Sequence
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
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.records import (
    ClassPrompts,
    Float32Array,
    ImageDetections,
    OutcomeStatus,
    PictureFile,
    RgbImage,
    SimilarityCalibration,
)
from data_miner_dagster.media.foreign_pictures import small_picture
from data_miner_dagster.media.images import read_stored_image, read_stored_image_reduced
from data_miner_dagster.media.outcomes import UnreadableImageError
from data_miner_dagster.models.checksums import ModelFile
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.registry import Capability, ModelEntry
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.deduplication.trial import try_dedup
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.detection.trial import try_detect
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.filtering.calibration import write_questions
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.filtering.trial import try_filter
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.standing import export_release
from data_miner_dagster.operations.reporting.previews import (
    dataset_preview,
    detections_preview,
    filtering_preview,
    frames_preview,
)
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.operations.trials import write_contact_sheet
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.storage.tables import read_table
from data_miner_dagster_tests.end_to_end.commands import write_yaml
from data_miner_dagster_tests.operations.foreign import deadly_jobs

PROJECT = "things"
NUM_PICTURES = 5
BRIGHT = 100
"""Every picture is brighter, and an empty tile darker."""


def _picture(number: int) -> Image.Image:
    """Bright blocks, others in each picture."""
    blocks = np.random.default_rng(number).choice(np.array([130, 190, 250], np.uint8), (8, 8, 3))
    return Image.fromarray(np.kron(blocks, np.ones((60, 80, 1), np.uint8)))


def _coded(number: int, format: str, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    _picture(number).save(buffer, format, **settings)
    return buffer.getvalue()


def _contents() -> dict[str, bytes]:
    return {
        "0.jpg": _coded(0, "JPEG", quality=90),
        "1.png": _coded(1, "PNG"),
        "2.webp": _coded(2, "WEBP", quality=90),
        "3.jpg": _coded(3, "JPEG", quality=90, progressive=True),
        "4.jpg": _coded(4, "JPEG", quality=90),
    }


class _Encoder:
    """Every picture is a direction of its own, and all are equally like every prompt."""

    name = "numbers"
    fingerprint = "numbers-1"
    embedding_dim = 1 + NUM_PICTURES
    input_side = 32
    calibration = SimilarityCalibration(0.5, 0.9)

    def __init__(self) -> None:
        self._known = np.stack([np.asarray(_picture(number).resize((8, 8)), float) for number in range(NUM_PICTURES)])

    def preprocess(self, image: RgbImage) -> npt.NDArray[Any]:
        return np.asarray(Image.fromarray(image).resize((8, 8)), float)

    def embed_batch(self, batch: npt.NDArray[Any]) -> Float32Array:
        nearest = np.abs(batch[:, None] - self._known[None]).sum(axis=(2, 3, 4)).argmin(axis=1)
        vectors = np.zeros((len(batch), self.embedding_dim), np.float32)
        vectors[:, 0], vectors[np.arange(len(batch)), 1 + nearest] = 0.6, 0.8
        return vectors

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        vectors = np.zeros((len(prompts), self.embedding_dim), np.float32)
        vectors[:, 0] = 1
        return vectors


class _OneBox:
    name = "one-box"
    fingerprint = "1"

    def detect(
        self, images: Sequence[RgbImage], classes: Sequence[ClassPrompts], *, confidence_floor: float
    ) -> list[ImageDetections]:
        assert {image.shape for image in images} <= {(480, 640, 3)}
        box = ImageDetections(
            np.array([[80, 60, 240, 300]], np.float32), np.array([0.9], np.float32), np.array([0], np.int32), ("thing",)
        )
        return [box for _ in images]


class _PlantedModels(ModelProvider):
    def __init__(self) -> None:
        super().__init__(ModelsConfig(profile="lite"))
        self.encoder = _Encoder()

    filter_encoder_name = dedup_encoder_name = _Encoder.name
    filter_encoder_fingerprint = dedup_encoder_fingerprint = _Encoder.fingerprint
    filter_encoder_calibration = dedup_encoder_calibration = _Encoder.calibration

    def filter_encoder(self) -> _Encoder:
        return self.encoder

    def dedup_encoder(self) -> _Encoder:
        return self.encoder

    def detector(self, name: str | None = None) -> ObjectDetector:
        return _OneBox()

    def detector_entries(self, names: Sequence[str] = ()) -> tuple[ModelEntry, ...]:
        files = (ModelFile("weights", "1"),)
        return (ModelEntry("one-box", "boxes", Capability.DETECTOR, "pypi:boxes", None, "none", "", files=files),)


def _listed(root: Path, contents: dict[str, bytes]) -> tuple[Platform, str]:
    """Return a platform with a project over one folder of pictures, and that folder's key."""
    folder = root / "project" / "pictures"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    project_file = write_yaml(
        folder.parent / f"{PROJECT}.yaml",
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "frames", "folders": ["pictures"]}]},
            "filtering": {"positive": ["a thing"]},
            "detection": {"classes": {"thing": []}},
        },
    )
    platform = Platform(PlatformConfig(), root / "root", models=_PlantedModels())
    register_project_file(platform, project_file)
    list_sources(platform, PROJECT)
    [video] = platform.catalog.videos()
    return platform, video.key


def _brightness(webp: bytes) -> list[float]:
    """Return the mean of each tile of a sheet of one row of five 240 x 135 tiles, or its first row of four."""
    with Image.open(io.BytesIO(webp)) as opened:
        pixels = np.asarray(opened.convert("L"), float)
    return [float(pixels[30:110, left + 60 : left + 180].mean()) for left in range(4, pixels.shape[1] - 240, 248)]


@pytest.fixture
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process has tried to decode of the pictures, from now on: any such try fails."""
    known = {hashlib.sha256(content).hexdigest(): name for name, content in _contents().items()}
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
    platform, key = _listed(tmp_path, _contents())
    download_videos(platform, [key])
    extract_frames(platform, [key])
    assert {
        path.read_bytes() for path in platform.layout.frames_folder(key).iterdir() if path.suffix != ".parquet"
    } == set(_contents().values())

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
        assert min(_brightness(preview.sheet)) > BRIGHT
    report = (platform.layout.report_folder(PROJECT) / "index.html").read_text()
    assert report.count("data:image/webp") >= 3 * NUM_PICTURES
    assert write_questions(platform, PROJECT).page.read_text().count("data:image/webp") == NUM_PICTURES
    exported = export_release(platform, PROJECT, format="crops", to=tmp_path / "crops")
    assert exported.num_images == NUM_PICTURES
    crops = list(exported.folder.rglob("*.jpg"))
    assert len(crops) == NUM_PICTURES
    for crop in crops:
        with Image.open(crop) as opened:
            assert opened.size == (160, 240)
    assert decoded_here == []


def test_try__no_foreign_picture_is_decoded_in_its_process(tmp_path: Path, decoded_here: list[str]) -> None:
    for name, content in _contents().items():
        (tmp_path / name).write_bytes(content)
    models = _PlantedModels()
    detection = DetectionConfig.model_validate({"classes": {"thing": []}})
    for trial in (
        try_filter(models, FilteringConfig.model_validate({"positive": ["a thing"]}), tmp_path),
        try_dedup(models, DeduplicationConfig(), tmp_path),
        try_detect(models, detection, tmp_path, threshold=0.1),
    ):
        assert len(trial.rows) == NUM_PICTURES
        assert write_contact_sheet(trial, tmp_path / "sheet.webp") == NUM_PICTURES
        brightness = _brightness((tmp_path / "sheet.webp").read_bytes())
        (tmp_path / "sheet.webp").unlink()
        assert len(brightness) == NUM_PICTURES
        assert min(brightness) > BRIGHT
    assert decoded_here == []


def test_decoded_here__sees_every_decoder(tmp_path: Path, decoded_here: list[str]) -> None:
    for name, content in _contents().items():
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


@pytest.mark.parametrize("name", sorted(_contents()))
def test_stored_pictures__the_same_pixels_whoever_decodes_them(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, _contents()[name]
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
            with pytest.raises(UnreadableImageError, match=r"is not the file that was stored: its sha256 differs"):
                pictures.read(file, "0" * 64)
            with pytest.raises(UnreadableImageError, match=r"a\.jpg is no image that can be decoded"):
                pictures.read_reduced(file, sha256, 100)
            with pytest.raises(UnreadableImageError, match="no JPEG, PNG"):
                pictures.see(file)


def _with_comment(comment: bytes) -> dict[str, bytes]:
    return {**_contents(), "3.jpg": _coded(3, "JPEG", quality=90, comment=comment)}


def _set_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_miner_dagster.operations.foreign.media_workers.JOBS_MODULE", deadly_jobs.MODULE)


def test_embed_frames__a_worker_that_dies_over_a_picture_takes_that_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, key = _listed(tmp_path, _with_comment(deadly_jobs.DEADLY))
    download_videos(platform, [key])
    extract_frames(platform, [key])
    with monkeypatch.context() as patched:
        _set_jobs(patched)
        [embedded] = embed_frames(platform, [key])
    assert embedded.status is OutcomeStatus.DONE
    assert (embedded.metadata["num_embedded"], embedded.metadata["num_unreadable"]) == (NUM_PICTURES - 1, 1)
    assert "1 frames cannot be read: decoding" in embedded.message
    assert "000003.jpg: the process was ended by SIGKILL" in embedded.message

    filter_project(platform, PROJECT)
    decided = read_table(platform.layout.filtered_table(PROJECT), ["frame_id", "drop_reason"]).to_pylist()
    assert [row["drop_reason"] for row in decided] == [None, None, None, "unreadable", None]
    deduplicate_project(platform, PROJECT)
    detect_project(platform, PROJECT)
    assert release_project(platform, PROJECT).counts["images"] == NUM_PICTURES - 1


def test_later_stages__a_worker_that_dies_over_a_picture_takes_that_one_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, key = _listed(tmp_path, _with_comment(deadly_jobs.DEADLY))
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
        assert [value > BRIGHT for value in _brightness(shown.sheet)] == [True, True, True, False]

    assert detect_project(platform, PROJECT).counts["frames"] == NUM_PICTURES
    release_project(platform, PROJECT)
    _set_jobs(monkeypatch)
    exported = export_release(platform, PROJECT, format="crops", to=tmp_path / "crops")
    assert exported.num_images == NUM_PICTURES - 1
    assert "000003.jpg: the process was ended by SIGKILL" in exported.left_out[f"{key}/000003"]
    assert len(list(exported.folder.rglob("*.jpg"))) == NUM_PICTURES - 1


def test_embed_frames__a_worker_that_somebody_else_ends_costs_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform, key = _listed(tmp_path, _with_comment(deadly_jobs.DEADLY_ONCE))
    download_videos(platform, [key])
    extract_frames(platform, [key])
    _set_jobs(monkeypatch)
    [embedded] = embed_frames(platform, [key])
    assert (embedded.metadata["num_embedded"], embedded.metadata["num_unreadable"]) == (NUM_PICTURES, 0)
    assert platform.layout.frame_path(key, "000003.died").exists()
