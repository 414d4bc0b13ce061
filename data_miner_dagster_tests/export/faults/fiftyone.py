from data_miner_dagster_tests.export.faults.planting import Fault, cut, gone, in_text
from data_miner_dagster_tests.export.faults.shown import SHOWN

SAMPLES = "samples.json"
IN_EXPORTS: dict[str, Fault] = SHOWN | {
    "no samples": (gone(SAMPLES), r"fiftyone: the files cannot be read \(FileNotFoundError"),
    "truncated samples": (cut(SAMPLES), r"fiftyone: the files cannot be read \(JSONDecodeError"),
    "fewer samples": (
        lambda folder: (folder / SAMPLES).write_text(
            (folder / SAMPLES).read_text().rpartition(',\n{"_id"')[0] + "\n]}\n"
        ),
        "samples.json: there are fewer samples than images",
    ),
    "another picture": (in_text(SAMPLES, "a_000000.jpg", "a_000009.jpg"), "a sample has .*files-a_000009.jpg"),
    "another time": (in_text(SAMPLES, '"pts_seconds": 0.0', '"pts_seconds": 1.0'), "samples.json: a sample has"),
    "wrong box": (
        in_text(SAMPLES, "[0.0625,", "[0.0725,"),
        "train/files-a_000000.jpg: the label of class 0 .* does not match the box of class 0",
    ),
    "swapped label": (
        in_text(SAMPLES, '"label": "person"', '"label": "bicycle"'),
        "label of class 1 .* does not match the box of class 0",
    ),
    "another confidence": (
        in_text(SAMPLES, '"confidence": 0.5', '"confidence": 0.4'),
        "the ids, confidences, answers or verdicts of its boxes differ",
    ),
    "another id of a box": (in_text(SAMPLES, '"box_id": "', '"box_id": "0'), "the ids, confidences"),
    "other classes": (
        in_text("metadata.json", "bicycle", "tram"),
        "metadata.json: the content does not match cyclists v001",
    ),
}
