from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.verdicts import FramePlace, ReviewQueue, ShownBox, Verdict, VerdictWord
from data_miner_dagster.export.coco import read_coco
from data_miner_dagster.export.lookups import find_image_id
from data_miner_dagster.export.parquet import images_table
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.provenance import trace_image
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import SAMPLE_VIDEOS, SampleVideo, build_project


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """Return a platform with one release; frame 1 of `files-aaa` has a verdict and represents two duplicates."""
    platform = build_project(tmp_path_factory.mktemp("traced") / "root")
    shown = ShownBox("bicycle", (4 / 64, 6 / 48, 40 / 64, 30 / 48), "d", "r", 0.9)
    said = Verdict(
        answer_id="a1",
        word=VerdictWord.RIGHT,
        place=FramePlace("files-aaa", 1.0),
        frame_id="files-aaa/000001",
        queue=ReviewQueue.RANDOM,
        who="Ada",
        given_at=datetime(2026, 1, 2, tzinfo=UTC),
        shown=shown,
    )
    add_verdicts(platform.database, "cyclists", [said])
    release_project(platform, "cyclists")
    return platform


def test_trace_image__says_why_an_image_and_its_box_are_there(released: Platform) -> None:
    found = trace_image(released, "files-aaa/000001")
    assert (found.project, found.version, found.image.frame_id) == ("cyclists", "v001", "files-aaa/000001")
    assert [(one.frame_id, one.tier) for one in found.duplicates] == [
        ("files-aaa/000002", "within_video"),
        ("files-bbb/000000", "across_videos"),
    ]
    assert [(box.class_name, box.verdict) for box in found.image.boxes] == [("bicycle", "right")]
    assert [(verdict.answer_id, verdict.who) for verdict in found.verdicts] == [("a1", "Ada")]
    assert found.thresholds == {"person": 0.3, "bicycle": 0.3}
    assert found.video.video_key == "files-aaa"


def test_trace_image__a_box_has_the_id_that_coco_gives_it(released: Platform) -> None:
    release = released.layout.release_folder("cyclists", "v001")
    coco = read_coco(release / "annotations" / "instances_all.json")
    assert len(coco.anns) == 5
    for annotation in coco.anns.values():
        found = trace_image(released, f"box:{annotation['id']}", project="cyclists")
        assert found.image.image_id == annotation["image_id"]
        (box,) = [one for one in found.as_json()["image"]["boxes"] if one["annotation_id"] == annotation["id"]]
        assert box["box_xyxy"][:2] == pytest.approx(annotation["bbox"][:2])


def test_trace_image__every_name_of_an_image_leads_to_it(released: Platform, tmp_path: Path) -> None:
    release = released.layout.release_folder("cyclists", "v001")
    image = next(path for path in sorted((release / "images").rglob("*.jpg")) if path.name == "files-ccc_000000.jpg")
    label = next((release / "labels").rglob("files-ccc_000000.txt"))
    elsewhere = tmp_path / "export" / "images" / image.name
    of_exports = ["Annotations/files-ccc_000000.xml", "train/001_bicycle/files-ccc_000000_000.png"]
    names = [str(image), str(label), str(elsewhere), image.name, image.stem, "files-ccc/000000", *of_exports]
    image_ids = {trace_image(released, name).image.image_id for name in names}
    assert image_ids == {trace_image(released, f"image:{image_ids.copy().pop()}").image.image_id}
    assert len(image_ids) == 1


@pytest.mark.parametrize("name", ["files-c.c~c_000000.png", "files-c~c~c_000000.json", "files-c.c.c_000000_002.jpg"])
def test_find_image_id__of_a_lossless_image_and_a_key_with_dots(tmp_path: Path, name: str) -> None:
    columns = {
        "image_id": [3, 4],
        "file_name": ["val/files-c.c.c_000001.png", "val/files-c.c.c_000000.png"],
        "frame_id": ["files-c.c.c/000001", "files-c.c.c/000000"],
    }
    images_table(tmp_path).parent.mkdir()
    pq.write_table(pa.table(columns), images_table(tmp_path))
    assert find_image_id(tmp_path, name) == 4
    assert find_image_id(tmp_path, f"un{name}") is None


def test_trace_image__tables_that_say_something_else_are_not_quoted(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    release_project(platform, "cyclists")
    # deduplicated again, without the other video's frame
    build_project(tmp_path / "root", videos=SAMPLE_VIDEOS[:1])
    found = trace_image(platform, "files-aaa/000001")
    assert found.image.num_duplicates == 2
    assert found.duplicates == ()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nosuch.jpg", r"'nosuch.jpg' is not in the current release of any project; give a file of a release"),
        ("files%", r"'files%' is not in the current release of any project"),
        ("box:6", r"'box:6' is not in the current release of any project"),
        ("box:0", r"'box:0' is not in the current release of any project"),
        ("image:99", r"'image:99' is not in the current release of any project"),
        ("image:one", r"'image:one' is not an id; write `image:` and a number"),
    ],
)
def test_trace_image__what_is_not_there_is_one_line(released: Platform, what: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        trace_image(released, what)


def test_trace_image__in_two_projects_it_has_to_be_said_which(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    release_project(platform, "cyclists")
    build_project(tmp_path / "root", name="walkers")
    release_project(platform, "walkers")
    with pytest.raises(ConfigError, match=r"is in releases of several projects \(cyclists, walkers\); choose one with"):
        trace_image(platform, "files-aaa/000001")
    assert trace_image(platform, "files-aaa/000001", project="walkers").project == "walkers"
    path = platform.layout.release_folder("walkers", "v001") / "images" / "x" / "files-aaa_000001.jpg"
    assert trace_image(platform, str(path)).project == "walkers"


def test_trace_image__a_damaged_release_of_another_project_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    platform = build_project(tmp_path / "root")
    build_project(tmp_path / "root", name="walkers", videos=(SampleVideo("files-zzz"),))
    for name in ("cyclists", "walkers"):
        release_project(platform, name)
    damaged = platform.layout.release_folder("cyclists", "v001") / "data" / "images.parquet"
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert trace_image(platform, "files-zzz/000000").project == "walkers"
    assert f"a release was passed over: {damaged} is damaged" in caplog.text
    with pytest.raises(DataMinerError, match=r"'files-aaa/000001' was not found in the releases that can be read; .*"):
        trace_image(platform, "files-aaa/000001")
    with pytest.raises(DataMinerError, match=r"images\.parquet is damaged"):
        trace_image(platform, "files-aaa/000001", project="cyclists")


def test_trace_image__a_version_that_another_project_does_not_have(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    build_project(tmp_path / "root", name="walkers", videos=(SampleVideo("files-zzz"),))
    for name in ("cyclists", "walkers"):
        release_project(platform, name)
    folder = platform.layout.release_folder("walkers", "v001")
    folder.rename(folder.with_name("v002"))
    assert trace_image(platform, "files-zzz/000000", version="v002").project == "walkers"
