import hashlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.export.coco import read_coco
from data_miner_dagster.export.codec import Destination
from data_miner_dagster.export.formats import EXPORT_FORMATS, EXPORT_NAMES, TABLES
from data_miner_dagster.export.yolo import read_yolo_labels
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.exporting import check_export_folder, export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.releasing.standing import release_header
from data_miner_dagster_tests.operations.full_disks import fill, small_disk
from data_miner_dagster_tests.support.releases import (
    FORGETFUL,
    HEADER,
    IMAGES,
    OF_TRACKS,
    tally_of,
    write_format,
    write_pictures,
    write_sample_videos,
)
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project, textured_image


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Return a platform with one release, for tests that only read it."""
    platform = build_project(tmp_path_factory.mktemp("released") / "root")
    release_project(platform, "cyclists")
    return platform


def test_export_release__all_is_the_release_without_strangers(released: Platform, tmp_path: Path) -> None:
    release = released.layout.release_folder("cyclists", "v001")
    stranger = release / "WITHDRAWN.txt"
    stranger.write_text("not part of the release")
    export_release(released, "cyclists", format="all", to=tmp_path / "out")
    stranger.unlink()
    files = {path.relative_to(release) for path in release.rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()} == files
    assert all((tmp_path / "out" / name).read_bytes() == (release / name).read_bytes() for name in files)


@pytest.mark.parametrize("format", [name for name in EXPORT_NAMES if name not in OF_TRACKS])
def test_export_release__counts_and_refuses_to_overwrite(released: Platform, tmp_path: Path, format: str) -> None:
    to = tmp_path / "out"
    outcome = export_release(released, "cyclists", format=format, to=to)
    assert (outcome.version, outcome.num_images, outcome.num_boxes) == ("v001", 7, 5)
    assert (to / "datasheet.md").is_file()
    with pytest.raises(ConfigError, match="exists and is not an empty folder"):
        export_release(released, "cyclists", format=format, to=to)


def test_export_release__coco_yolo_and_parquet_are_those_of_the_release(released: Platform, tmp_path: Path) -> None:
    release = released.layout.release_folder("cyclists", "v001")
    export_release(released, "cyclists", format="coco", to=tmp_path / "coco")
    assert len(read_coco(tmp_path / "coco" / "annotations" / "instances_all.json").getAnnIds()) == 5
    export_release(released, "cyclists", format="yolo", to=tmp_path / "yolo")
    labels = sorted((tmp_path / "yolo" / "labels").rglob("*.txt"))
    assert sum(len(read_yolo_labels(path)) for path in labels) == 5
    export_release(released, "cyclists", format="parquet", to=tmp_path / "parquet")
    for exported in (tmp_path / "coco", tmp_path / "yolo", tmp_path / "parquet"):
        for path in sorted(exported.rglob("*")):
            if path.is_file():
                assert path.read_bytes() == (release / path.relative_to(exported)).read_bytes(), path
        assert len(list((exported / "images").rglob("*.jpg"))) == 7
    image = next((tmp_path / "coco" / "images").rglob("*.jpg"))
    assert image.stat().st_nlink == 1, "an export must not share its bytes with the frames"


def test_export_release__huggingface_holds_the_images(released: Platform, tmp_path: Path) -> None:
    export_release(released, "cyclists", format="huggingface", to=tmp_path / "hub")
    shards = sorted((tmp_path / "hub" / "data").iterdir())
    table = pd.concat([pd.read_parquet(shard) for shard in shards]).set_index("image_id").sort_index()
    assert len(table) == 7
    first = table.loc[1]
    assert Image.open(io.BytesIO(first["image"]["bytes"])).size == (64, 48)
    assert first["image"]["path"] == "files-aaa_000001.jpg"
    assert [list(box) for box in first["objects"]["bbox"]] == [[4.0, 6.0, 36.0, 24.0]]
    assert list(first["objects"]["category_name"]) == ["bicycle"]
    features = json.loads(pq.read_schema(shards[0]).metadata[b"huggingface"])["info"]["features"]
    assert features == {"image": {"_type": "Image"}}
    assert "path: data/train-*.parquet" in (tmp_path / "hub" / "README.md").read_text()


_READ_WITH_DATASETS = """
import json, sys
from datasets import load_dataset
for folder in sys.argv[1:]:
    splits = load_dataset(folder)
    rows = []
    for split in splits.values():
        for row in split:
            facts = row.get("json") or row
            [picture] = [row[name] for name in ("image", "jpg", "png") if row.get(name) is not None]
            rows.append([facts["image_id"], picture.size, facts["objects"]["category"]])
    print(json.dumps([sorted(splits), sorted(rows)]))
"""


def _of_two_formats(base: Path) -> Path:
    """Return a WebDataset export of a JPEG and a PNG image."""
    release, folder, format = base / "release", base / "two", EXPORT_FORMATS["webdataset"]
    buffer = io.BytesIO()
    textured_image(2).save(buffer, "PNG")
    content = buffer.getvalue()
    facts: dict[str, Any] = {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    images = (IMAGES[0], replace(IMAGES[1], file_name="train/files-a_000002.png", **facts))
    write_pictures(release, images)
    (release / "images" / images[1].file_name).write_bytes(content)
    folder.mkdir()
    with StoredPictures(ExtractionConfig()) as pictures:
        write_format(TABLES, Destination(release, HEADER, release, pictures), images)
        write_sample_videos(release, images)
        destination = Destination(folder, HEADER, release, pictures)
        write_format(format, destination, images)
        assert format.codec.complete_export is not None
        format.codec.complete_export(destination, tally_of(images))
    return folder


def test_release__reads_back_with_datasets(released: Platform, tmp_path: Path) -> None:
    folders = [released.layout.release_folder("cyclists", "v001")]
    for format in ("huggingface", "webdataset"):
        folders.append(export_release(released, "cyclists", format=format, to=tmp_path / format).folder)
    folders.append(_of_two_formats(tmp_path))
    finished = subprocess.run(
        [sys.executable, "-c", _READ_WITH_DATASETS, *map(str, folders)],
        env=os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [
        [1, [64, 48], [1]],
        [2, [64, 48], [0]],
        [3, [64, 48], [0, 0]],
        [4, [64, 48], []],
        [5, [64, 48], []],
        [6, [64, 48], [1]],
        [7, [64, 48], []],
    ]
    *found, of_two_formats = [json.loads(line) for line in finished.stdout.splitlines()]
    assert found == [[["train", "validation"], rows]] * 3
    assert of_two_formats == [["train"], [[1, [64, 48], [0, 1]], [2, [64, 48], []]]]


def test_export_release__crops(released: Platform, tmp_path: Path) -> None:
    export_release(released, "cyclists", format="crops", to=tmp_path / "crops")
    crops = {path.name: path for path in (tmp_path / "crops").rglob("*.jpg")}
    assert sorted(crops) == [
        "files-aaa_000001_000.jpg",
        "files-aaa_000003_000.jpg",
        "files-bbb_000001_000.jpg",
        "files-bbb_000001_001.jpg",
        "files-ccc_000000_000.jpg",
    ]
    assert crops["files-aaa_000003_000.jpg"].parent.name == "000_person"
    # the box from (10.5, 8.25) to (30, 47), rounded outwards to whole pixels
    with Image.open(crops["files-aaa_000003_000.jpg"]) as crop:
        assert crop.size == (20, 39)


@pytest.mark.parametrize(
    ("format", "boundary", "lost"),
    [
        *((format, "add", "files-bbb/000001") for format in EXPORT_FORMATS if format not in OF_TRACKS),
        ("crops", "_write_crop", "files-bbb/000001 box 1"),
    ],
)
def test_export_release__goes_on_without_what_a_fault_meets(
    released: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, boundary: str, lost: str
) -> None:
    whole = export_release(released, "cyclists", format=format, to=tmp_path / "whole")
    release = released.layout.release_folder("cyclists", "v001")
    with StoredPictures(ExtractionConfig()) as pictures:
        to = Destination(tmp_path, release_header(release), release, pictures)
        writer = EXPORT_FORMATS[format].codec.open_writer(to)
    writer.close()
    patched: Any = type(writer) if boundary == "add" else sys.modules[type(writer).__module__]
    write = getattr(patched, boundary)

    def raising(*arguments: Any) -> None:
        if "files-bbb_000001_001" in str(arguments):
            raise ZeroDivisionError("planted")
        write(*arguments)
        if "files-bbb/000001" in str(arguments):  # after some images have been written
            raise ZeroDivisionError("planted")

    monkeypatch.setattr(patched, boundary, raising)
    outcome = export_release(released, "cyclists", format=format, to=tmp_path / "out")
    assert list(outcome.left_out) == [lost]
    assert re.fullmatch(r"ZeroDivisionError: planted.*", outcome.left_out[lost])
    is_crop = "box" in lost
    assert outcome.num_images == whole.num_images - (not is_crop)
    assert outcome.num_boxes == whole.num_boxes - (1 if is_crop else 2)
    files = [path.name for path in outcome.folder.rglob("*") if path.is_file()]
    assert [name for name in files if name.startswith("files-bbb_000001")] == (
        ["files-bbb_000001_000.jpg"] if is_crop else []
    )


def test_export_release__one_that_does_not_read_back_does_not_appear(
    released: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_miner_dagster.export.coco.CODEC", FORGETFUL)
    with pytest.raises(DataMinerError) as raised:
        export_release(released, "cyclists", format="coco", to=tmp_path / "out")
    assert str(raised.value).startswith("the export of cyclists v001 as coco cannot be read back: instances_")
    assert str(raised.value).endswith("; nothing was exported; try again, and report the problem if it persists")
    assert list(tmp_path.iterdir()) == []


def test_export_release__a_split_without_images_has_its_folder(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root", videos=[SampleVideo("files-aaa", num_frames=1)])
    release_project(platform, "cyclists")
    export_release(platform, "cyclists", format="yolo", to=tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == ["test", "train", "val"]


def test_export_release__damaged(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    release_project(platform, "cyclists")
    (platform.layout.release_folder("cyclists", "v001") / "data.yaml").unlink()
    with pytest.raises(DataMinerError, match=r"is damaged \(data.yaml: missing\)"):
        export_release(platform, "cyclists", format="coco", to=tmp_path / "out")
    assert not (tmp_path / "out").exists()


_KILLED = """
import os, signal, sys
from pathlib import Path
from data_miner_dagster.operations.releasing import exporting
from data_miner_dagster_tests.support.sample_project import build_project

class Steps:
    def __init__(self, *_arguments):
        self.number = 0

    def advance(self):
        self.number += 1
        if self.number == 4:
            os.kill(os.getpid(), signal.SIGKILL)

exporting.Steps = Steps
root, base = map(Path, sys.argv[1:3])
for format in sys.argv[3:]:
    if not (child := os.fork()):
        exporting.export_release(build_project(root), "cyclists", format=format, to=base / format)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, format
"""


def test_export_release__killed_and_run_again(released: Platform, tmp_path: Path) -> None:
    formats = [name for name in EXPORT_NAMES if name not in OF_TRACKS]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    subprocess.run([sys.executable, "-c", _KILLED, released.root, killed, *formats], check=True)
    assert not [name for name in formats if (killed / name).exists()]
    assert len(list(killed.iterdir())) == len(formats), "what is half written lies there, under another name"
    for name in formats:
        for base in (killed, whole):
            export_release(released, "cyclists", format=name, to=base / name)
    assert sorted(path.name for path in killed.iterdir()) == sorted(formats)
    found, wanted = (
        {
            path.relative_to(base): path.read_bytes()
            for path in base.rglob("*")
            if path.is_file() and path.relative_to(base).parts[0] != "lance"  # file names are random
        }
        for base in (killed, whole)
    )
    assert found == wanted


def test_export_release__a_full_disk_leaves_nothing(released: Platform, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        (disk / "exports").mkdir()
        filler = fill(disk)
        os.truncate(filler, filler.stat().st_size - 8192)
        for name in EXPORT_NAMES:
            if name in OF_TRACKS:
                continue
            with pytest.raises(
                DataMinerError, match=f"^no space is left on the disk of .*{name}, so nothing was exported; "
            ):
                export_release(released, "cyclists", format=name, to=disk / "exports" / name)
            assert list((disk / "exports").iterdir()) == [], name
        filler.unlink()
        # to another file system
        export_release(released, "cyclists", format="lance", to=disk / "exports" / "lance")
        assert (disk / "exports" / "lance" / "data" / "train.lance").is_dir()
        with pytest.raises(ConfigError, match="is a mount point, which cannot be replaced"):
            check_export_folder(released, disk)


def test_check_export_folder__the_roots_own_and_unwritable_ones(released: Platform, tmp_path: Path) -> None:
    check_export_folder(released, tmp_path / "new" / "out")
    check_export_folder(released, released.root / "exports" / "v001")
    with pytest.raises(ConfigError, match=r"is in the root's own folder releases; choose a folder outside it"):
        check_export_folder(released, released.layout.release_folder("cyclists", "v009"))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be created or written to \(File exists\); choose another folder"):
        check_export_folder(released, tmp_path / "file" / "out")
    with pytest.raises(ConfigError, match=r"cannot be created or written to|is not writable|read-only"):
        check_export_folder(released, Path("/proc/nowhere/out"))
