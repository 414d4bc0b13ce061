"""Test comparing boxes with every kind of ground truth, on a planted project: the figures, and what is left out."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from data_miner_dagster.cli.main import app
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.evaluation.evaluate import evaluate_boxes
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.frames import frames_table_of, read_frame_images
from data_miner_dagster.storage.quality import read_evaluation
from data_miner_dagster_tests.operations.evaluation.reviewed_project import (
    LEFTS,
    NUM_FRAMES,
    box_at,
    confidence,
    is_right,
)
from data_miner_dagster_tests.support.sample_project import FRAME_WH, build_project


def truth_content() -> dict[str, Any]:
    """Return the objects of the first 20 frames, an image that is not a frame, and an object of class dog.

    Images have the file names of a release.
    """
    images = [
        {"id": frame, "file_name": f"train/files-aaa_{frame:06d}.jpg", "width": FRAME_WH[0], "height": FRAME_WH[1]}
        for frame in range(20)
    ]
    images.append({"id": 99, "file_name": "elsewhere.jpg", "width": 10, "height": 10})
    places = [(frame, place) for frame in range(20) for place in range(3) if is_right(frame, place)]
    annotations = [
        {
            "id": number,
            "image_id": frame,
            "category_id": 7,
            "bbox": [LEFTS[place] + 1, 4.0, 12.0, 40.0],  # the IoU is 11 / 13
            "area": 480.0,
            "iscrowd": int(number % 9 == 8),
        }
        for number, (frame, place) in enumerate(places, 1)
    ]
    annotations.append({"id": 999, "image_id": 0, "category_id": 8, "bbox": [0, 0, 5, 5], "area": 25.0, "iscrowd": 0})
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "person"}, {"id": 8, "name": "dog"}],
    }


def test_evaluate_boxes__coco_equals_pycocotools(platform: Platform, tmp_path: Path) -> None:
    content = truth_content()
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    outcome = evaluate_boxes(platform, "cyclists", truth=str(path))
    evaluation = outcome.evaluation
    assert (evaluation.num_images, evaluation.num_images_unmatched, evaluation.num_boxes) == (20, 1, 60)
    assert evaluation.class_names == ("person",)
    assert outcome.unmatched == ("elsewhere.jpg",)
    assert outcome.remarks == (
        "1 ground-truth image is not a frame of the project: elsewhere.jpg",
        "objects of classes that the project does not have are left out: dog",
        "boxes of classes that the ground truth does not have are left out: bicycle",
    )
    results = [
        {
            "image_id": frame,
            "category_id": 7,
            "bbox": [LEFTS[place], 4.0, 12.0, 40.0],
            "score": confidence(frame, place),
        }
        for frame in range(20)
        for place in range(3)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = content | {"info": {}, "images": content["images"][:20]}
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluator.params.catIds = [7]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    figures = [-1.0 if value is None else value for value in evaluation.figures.values()]
    assert figures == pytest.approx(evaluator.stats.tolist(), abs=1e-6)
    assert read_evaluation(outcome.file) == evaluation
    person = evaluation.classes["person"]
    assert person.best is not None
    # boxes from .5 upwards are right and no others, so the best threshold is the lowest confidence of a right box
    assert person.best.threshold == pytest.approx(
        min(confidence(frame, place) for frame in range(20) for place in range(3) if is_right(frame, place))
    )
    assert (person.best.precision, person.best.recall) == (1.0, 1.0)


def test_evaluate_boxes__yolo_by_the_bytes_of_pictures(platform: Platform, tmp_path: Path) -> None:
    for folder in ("images/val", "labels/val"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: [bicycle, person]\n")
    for frame, image in list(read_frame_images(platform.layout, "files-aaa").items())[:4]:
        (tmp_path / "images" / "val" / f"picture{frame}.jpg").write_bytes(image.file.path.read_bytes())
        if frame < 3:
            x, y, width, height = (LEFTS[0] + 6) / FRAME_WH[0], 0.5, 12 / FRAME_WH[0], 40 / FRAME_WH[1]
            line = f"1 {x} {y} {width} {height}\n" if is_right(frame, 0) else ""
            (tmp_path / "labels" / "val" / f"picture{frame}.txt").write_text(line)
    outcome = evaluate_boxes(platform, "cyclists", truth=str(tmp_path))
    assert (outcome.evaluation.num_images, outcome.evaluation.truth) == (3, "yolo")
    assert outcome.evaluation.num_objects == sum(is_right(frame, 0) for frame in range(3))
    assert outcome.remarks == ("1 image without a label file is left out, since the objects are unknown",)
    (tmp_path / "labels" / "val" / "picture0.txt").write_text("1 0.5 0.5\n")
    with pytest.raises(
        ConfigError, match=r"line 1 of .*picture0\.txt, .* is not `class x y width height` with a class in data\.yaml"
    ):
        evaluate_boxes(platform, "cyclists", truth=str(tmp_path))
    (tmp_path / "labels" / "val" / "picture0.txt").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"picture0\.txt is not UTF-8 text; save it as UTF-8"):
        evaluate_boxes(platform, "cyclists", truth=str(tmp_path))
    (tmp_path / "labels" / "val" / "picture0.txt").unlink()
    (tmp_path / "labels" / "val" / "picture0.txt").symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(
        ConfigError, match=r"picture0\.txt cannot be read \(No such file or directory\); check the path"
    ):
        evaluate_boxes(platform, "cyclists", truth=str(tmp_path))


def test_evaluate_boxes__what_people_judged(platform: Platform) -> None:
    evaluation = evaluate_boxes(platform, "cyclists", truth="reviewed").evaluation
    frames = range(1, NUM_FRAMES, 2)  # the frames that were judged completely
    num_right = sum(is_right(frame, place) for frame in frames for place in range(3))
    num_missed = len(range(1, NUM_FRAMES, 4))
    assert (evaluation.num_images, evaluation.num_objects) == (20, num_right + num_missed)
    num_wrong = sum(0.3 <= confidence(frame, place) < 0.5 for frame in frames for place in range(3))
    assert evaluation.confusion.class_names == ("person", "bicycle")
    assert evaluation.confusion.counts == ((num_right, 0, num_missed), (0, 0, 0), (num_wrong, 0, 0))
    in_force = evaluation.classes["person"].in_force
    assert in_force is not None
    assert in_force.precision == num_right / (num_right + num_wrong)
    assert in_force.recall == num_right / (num_right + num_missed)
    assert evaluation.classes["bicycle"].ap is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", r"is not a valid COCO detection file \(it has no 'categories'\); correct it"),
        ("[1", "is not a valid COCO detection file"),
        (json.dumps({**truth_content(), "categories": []}), r"\(annotation .* has the unknown category \d+\)"),
        (json.dumps({**truth_content(), "images": [], "annotations": []}), r"truth\.json lists no images"),
        (
            json.dumps({**truth_content(), "images": truth_content()["images"][-1:], "annotations": []}),
            "is not a frame of the project",
        ),
        (
            json.dumps({**truth_content(), "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "dog"}]}),
            "no class in",
        ),
    ],
)
def test_evaluate_boxes__no_truth(platform: Platform, tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        evaluate_boxes(platform, "cyclists", truth=str(path))


def test_evaluate_boxes__frames_that_are_gone(tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    names = ("files-aaa_000001.jpg", "files-bbb_000001.jpg", "files-ccc_000000.jpg")
    content = {
        "images": [{"id": number, "file_name": name, "width": 64, "height": 48} for number, name in enumerate(names)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "bbox": [4, 6, 36, 24]} for number in range(3)
        ],
        "categories": [{"id": 1, "name": "bicycle"}],
    }
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    frames_table_of(platform.layout, "files-bbb").unlink()
    outcome = evaluate_boxes(platform, "cyclists", truth=str(path))
    assert (outcome.evaluation.num_images, outcome.evaluation.num_objects) == (2, 2)
    remedy = "run `data-miner doctor --fix` and then `data-miner run --config FILE` to extract the missing frames again"
    assert (
        "1 frame with ground truth is left out, since the stored frames are missing: files-bbb/000001; " + remedy
    ) in outcome.remarks
    for key in ("files-aaa", "files-ccc"):
        frames_table_of(platform.layout, key).unlink()
    told = CliRunner().invoke(app, ["evaluate", "cyclists", "--truth", str(path), "--root", str(platform.root)])
    gone = "files-aaa/000001, files-bbb/000001, files-ccc/000000"
    assert str(told.exception) == f"none of the frames with ground truth is stored any more ({gone}); {remedy}"


def test_evaluate_boxes__nobody_judged_a_frame(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="judge some with `data-miner review cyclists`"):
        evaluate_boxes(build_project(tmp_path), "cyclists", truth="reviewed")


def test_evaluate__in_the_terminal(platform: Platform) -> None:
    assert box_at(1.0) == (1.0, 4.0, 13.0, 44.0)

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["evaluate", *arguments, "--root", str(platform.root)])
        assert result.exit_code == 0, result.output
        return result.stdout

    text = invoke("cyclists", "--truth", "reviewed")
    assert "stored detections from lite" in text
    assert "object \\ box" in text
    content = json.loads(invoke("cyclists", "--truth", "reviewed", "--json"))
    assert content["num_images"] == 20
    assert content["report"] is None
    refused = CliRunner().invoke(
        app, ["evaluate", "cyclists/v009", "--truth", "reviewed", "--root", str(platform.root)]
    )
    assert isinstance(refused.exception, ConfigError)
