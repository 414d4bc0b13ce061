"""Tests of shards with WebDataset's own reader. test_verification.py tests that the read-back finds each fault."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import webdataset
from PIL import Image

from data_miner_dagster.export.webdataset import WebDatasetWriter, hub_features, read_samples, shard_files
from data_miner_dagster_tests.support.releases import IMAGES, release_image, write_images, write_pictures

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the library does not close shards


def test_webdataset_writer__reads_back_with_webdataset(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    write_images(WebDatasetWriter(tmp_path, tmp_path))
    assert shard_files(tmp_path, "test") == []
    shards = [str(path) for path in shard_files(tmp_path, "train")]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))
    assert [sample["__key__"] for sample in samples] == ["files-a_000000", "files-a_000002", "files-c_000001"]
    assert [sample["jpg"].size for sample in samples] == [(64, 48)] * 3
    assert samples[0]["json"] == {
        "file_name": "files-a_000000.jpg",
        "image_id": 1,
        "width": 64,
        "height": 48,
        "objects": {
            "bbox": [[4.0, 6.0, 36.0, 24.0], [10.5, 8.25, 19.5, 38.75]],
            "category": [0, 1],
            "category_name": ["person", "bicycle"],
            "confidence": [0.5, 0.5],
        },
        "frame_id": "files-a/000000",
        "video_key": "files-a",
        "video_url": "https://videos.example/files-a",
        "pts_seconds": 0.0,
        "similarity": 0.75,
        "similar_prompt": "a bicycle",
    }
    assert samples[1]["json"]["objects"] == {"bbox": [], "category": [], "category_name": [], "confidence": []}


def test_webdataset_writer__keys_of_files_have_dots_and_may_be_long(tmp_path: Path) -> None:
    keys = ["file-a.b.0123456789abcdef", "file-a-b.0123456789abcdef", f"youtube-{'x' * 190}"]
    images = [release_image(number, "train", key, 7) for number, key in enumerate(keys, 1)]
    write_pictures(tmp_path, images)
    write_images(WebDatasetWriter(tmp_path, tmp_path), images)
    (shard,) = shard_files(tmp_path, "train")
    samples = list(webdataset.WebDataset([str(shard)], shardshuffle=False))
    assert [sorted(sample) for sample in samples] == [["__key__", "__local_path__", "__url__", "jpg", "json"]] * 3
    assert [sample["__key__"] for sample in samples] == [f"{key.replace('.', '~')}_000007" for key in keys]
    assert [row["video_key"] for row in read_samples(shard)] == keys
    assert Image.open(io.BytesIO(samples[2]["jpg"])).size == (64, 48)


def test_webdataset_writer__the_same_images_yield_the_same_bytes_in_shards(tmp_path: Path) -> None:
    write_pictures(tmp_path)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        write_images(WebDatasetWriter(folder, tmp_path, max_shard_bytes=1))
    names = [[path.name for path in shard_files(folder, "train")] for folder in folders]
    assert names == [["train-00000.tar", "train-00001.tar", "train-00002.tar"]] * 2
    one, two = ([path.read_bytes() for path in shard_files(folder, "train")] for folder in folders)
    assert one == two


def test_webdataset_writer__odd_class_names_are_text(tmp_path: Path) -> None:
    box = IMAGES[0].boxes[0]
    images = [replace(IMAGES[0], boxes=(replace(box, class_name=' Füße/"日本"\\n '),))]
    write_pictures(tmp_path, images)
    write_images(WebDatasetWriter(tmp_path, tmp_path), images)
    (sample,) = webdataset.WebDataset([str(path) for path in shard_files(tmp_path, "train")], shardshuffle=False)
    assert ' Füße/\\"日本\\"\\\\n ' in sample["json"].decode()


def test_hub_features__as_datasets_writes_them() -> None:
    features = hub_features(("mask", "verifier_verdict"), ("webp", "png"))
    assert features[:2] == [{"name": "png", "dtype": "image"}, {"name": "webp", "dtype": "image"}]
    row = next(feature["struct"] for feature in features if feature["name"] == "json")
    assert row[1:3] == [{"name": "image_id", "dtype": "int64"}, {"name": "width", "dtype": "int32"}]
    assert row[4] == {
        "name": "objects",
        "struct": [
            {"name": "bbox", "list": {"list": "float64"}},
            {"name": "category", "list": "int64"},
            {"name": "category_name", "list": "string"},
            {"name": "confidence", "list": "float64"},
            {"name": "mask", "list": [{"name": "size", "list": "int32"}, {"name": "counts", "dtype": "string"}]},
            {"name": "verifier_verdict", "list": "string"},
        ],
    }
