from data_miner_dagster_tests.export.faults.coco import in_json
from data_miner_dagster_tests.export.faults.planting import Fault, in_rows, in_text

IN_JUDGED_RELEASES: dict[str, Fault] = {
    "region to ignore as a label": (
        in_json("all", lambda of: of["annotations"][1].update(iscrowd=0)),
        "instances_all.json: train/files-a_000000.jpg: iscrowd is 0 for an unsure box",
    ),
    "label as a region to ignore": (
        in_json("train", lambda of: of["annotations"][0].update(iscrowd=1)),
        "instances_train.json: train/files-a_000000.jpg: iscrowd is 1 for a box that is not unsure",
    ),
    "missing region": (in_json("all", lambda of: of["annotations"].pop(1)), "4 images and 5 boxes, expected 4 and 6"),
    "another answer": (
        in_json("all", lambda of: of["annotations"][0].update(answer_id="a9")),
        "answer_id of a box is 'a9', expected 'a1'",
    ),
    "verdict that nobody gave": (
        in_json("all", lambda of: of["annotations"][3].update(verdict="right")),
        "verdict of a box is 'right', expected None",
    ),
    "label of an unsure box": (
        in_text("labels/train/files-a_000002.txt", "", "1 0.859375 0.104167 0.156250 0.166667\n"),
        "train/files-a_000002.jpg: 1 label, expected 0",
    ),
    "unsure box as a label": (
        in_rows("data/boxes.parquet", lambda rows: rows[1].update(is_unsure=False)),
        r"data: 4 images, 5 boxes \(but images.parquet states 4\), expected 4, 4",
    ),
    "number of unsure boxes": (
        in_rows("data/images.parquet", lambda rows: rows[1].update(num_unsure_boxes=0)),
        "data: images that do not have the stated number of boxes: 1",
    ),
    "verdict of another word": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(verdict="wrong")),
        "data: boxes by verdict",
    ),
}
IN_JUDGED_EXPORTS: dict[str, dict[str, Fault]] = {
    "voc": {
        "unsure box as an object": (
            in_text("Annotations/files-a_000002.xml", "<difficult>1<", "<difficult>0<"),
            "files-a_000002.xml: the boxes marked as difficult are not the unsure ones",
        )
    },
    "coco": {
        "another verdict of the verifier": (
            in_json("all", lambda of: of["annotations"][0].update(verifier_verdict="rejected")),
            "verifier_verdict of a box is 'rejected', expected 'confirmed'",
        )
    },
    "cvat": {
        "another verdict of the verifier": (
            in_text("annotations.xml", ">confirmed<", ">rejected<"),
            "train/files-a_000000.jpg: the confidences, ids, detectors, answers or verdicts of its boxes differ",
        )
    },
    "label-studio": {
        "another verdict of the verifier": (
            in_text("tasks-00000.json", '"confirmed"', '"rejected"'),
            "train/files-a_000000.jpg: the answers or verdicts of its boxes differ",
        )
    },
    "fiftyone": {
        "another verdict of the verifier": (
            in_text("samples.json", '"confirmed"', '"rejected"'),
            "train/files-a_000000.jpg: the ids, confidences, answers or verdicts of its boxes differ",
        )
    },
    "huggingface": {
        "another verdict of the verifier": (
            in_rows(
                "data/train-00000.parquet", lambda rows: rows[0]["objects"]["verifier_verdict"].__setitem__(0, None)
            ),
            "train/files-a_000000.jpg: `verifier_verdict` of its boxes differs from the release",
        )
    },
    "parquet": {
        "another answer": (
            in_rows("data/boxes.parquet", lambda rows: rows[0].update(answer_id="a9")),
            "data: train/files-a_000000.jpg differs from the release",
        )
    },
}
