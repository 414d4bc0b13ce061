from data_miner_dagster_tests.export.faults.coco import in_json
from data_miner_dagster_tests.export.faults.planting import Fault, in_rows, in_text

IN_JUDGED_RELEASES: dict[str, Fault] = {
    "region to ignore as a label": (
        in_json("all", lambda of: of["annotations"][1].update(iscrowd=0)),
        "instances_all.json: train/files-a_000000.jpg: iscrowd 0 of a box that is unsure",
    ),
    "label as a region to ignore": (
        in_json("train", lambda of: of["annotations"][0].update(iscrowd=1)),
        "instances_train.json: train/files-a_000000.jpg: iscrowd 1 of a box that is a label",
    ),
    "missing region": (in_json("all", lambda of: of["annotations"].pop(1)), "4 images and 5 boxes, expected 4 and 6"),
    "another answer": (
        in_json("all", lambda of: of["annotations"][0].update(answer_id="a9")),
        r"of a box are \('right', 'a9', 0.875\), expected \('right', 'a1', 0.875\)",
    ),
    "verdict that nobody gave": (
        in_json("all", lambda of: of["annotations"][3].update(verdict="right")),
        r"of a box are \('right', None, None\)",
    ),
    "label of an unsure box": (
        in_text("labels/train/files-a_000002.txt", "", "1 0.859375 0.104167 0.156250 0.166667\n"),
        "train/files-a_000002.jpg: 1 labels, expected 0",
    ),
    "unsure box as a label": (
        in_rows("data/boxes.parquet", lambda rows: rows[1].update(is_unsure=False)),
        "data: 4 images, 5 boxes, expected 4, 4",
    ),
    "number of unsure boxes": (
        in_rows("data/images.parquet", lambda rows: rows[1].update(num_unsure_boxes=0)),
        "data: 1 images have another number of boxes",
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
            "files-a_000002.xml: the unsure boxes are not those that are difficult",
        )
    },
    "parquet": {
        "another answer": (
            in_rows("data/boxes.parquet", lambda rows: rows[0].update(answer_id="a9")),
            "data: train/files-a_000000.jpg is not what the release says",
        )
    },
}
