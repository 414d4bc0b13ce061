from data_miner_dagster_tests.export.faults.planting import Fault, cut, gone, in_text
from data_miner_dagster_tests.export.faults.shown import SHOWN

TASKS = "tasks-00000.json"
IN_EXPORTS: dict[str, Fault] = SHOWN | {
    "no tasks": (gone(TASKS), r"label studio: the files cannot be read \(FileNotFoundError"),
    "truncated tasks": (cut(TASKS), r"label studio: the files cannot be read \(JSONDecodeError"),
    "missing task": (
        lambda folder: (folder / TASKS).write_text((folder / TASKS).read_text().rpartition(',\n{"data"')[0] + "\n]\n"),
        "there is no task for train/files-c_000001.jpg",
    ),
    "another image": (in_text(TASKS, "a_000000.jpg", "a_000009.jpg"), "train/files-a_000000.jpg: its task has"),
    "another frame": (in_text(TASKS, "files-a/000000", "files-a/000001"), "train/files-a_000000.jpg: its task has"),
    "another time": (in_text(TASKS, '"pts_seconds": 2.0', '"pts_seconds": 3.0'), "files-a_000002.jpg: its task has"),
    "another percentage": (
        in_text(TASKS, '"x": 6.25', '"x": 6.5'),
        "train/files-a_000000.jpg: the label of class 0 .* does not match the box of class 0",
    ),
    "swapped label": (
        in_text(TASKS, '["person"]', '["bicycle"]'),
        "label of class 1 .* does not match the box of class 0",
    ),
    "unknown label": (in_text(TASKS, '["person"]', '["tram"]'), r"label studio: the files cannot be read \(ValueError"),
    "turned box": (in_text(TASKS, '"rotation": 0', '"rotation": 5'), "train/files-a_000000.jpg: 1 label, expected 2"),
    "another id of a box": (
        in_text(TASKS, '"id": "', '"id": "0'),
        "files-a_000000.jpg: the ids of its boxes differ",
    ),
    "another confidence": (in_text(TASKS, '"score": 0.5', '"score": 0.6'), "the confidences of its boxes differ"),
    "missing class": (
        in_text("label_config.xml", "person", "tram"),
        "label_config.xml: the labels do not match the classes",
    ),
    "missing picture": (gone("images/val/files-b_000000.jpg"), "there is no image val/files-b_000000.jpg"),
}
