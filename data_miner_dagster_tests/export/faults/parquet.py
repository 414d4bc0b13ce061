from data_miner_dagster_tests.export.faults.pictures import PICTURES
from data_miner_dagster_tests.export.faults.planting import Fault, cut, gone, in_rows

IN_RELEASES: dict[str, Fault] = {
    "missing image": (in_rows("data/images.parquet", lambda rows: rows.pop(1)), "data: 3 images, 4 boxes, expected 4"),
    "extra image": (
        in_rows("data/images.parquet", lambda rows: rows.append(rows[1] | {"image_id": 5})),
        "data: 5 images, 4 boxes, expected 4, 4",
    ),
    "image twice": (in_rows("data/images.parquet", lambda rows: rows[1].update(image_id=1)), "ids are not unique"),
    "missing box": (
        in_rows("data/boxes.parquet", lambda rows: rows.pop()),
        r"data: 4 images, 3 boxes \(but images.parquet states 4\), expected 4, 4",
    ),
    "wrong number of boxes": (
        in_rows("data/images.parquet", lambda rows: (rows[0].update(num_boxes=1), rows[1].update(num_boxes=1))),
        "data: images that do not have the stated number of boxes: 2",
    ),
    "wrong number of boxes in one table": (
        in_rows("data/images.parquet", lambda rows: rows[0].update(num_boxes=1)),
        r"data: 4 images, 4 boxes \(but images.parquet states 3\), expected 4, 4",
    ),
    "box of another image": (
        in_rows("data/boxes.parquet", lambda rows: rows[1].update(image_id=2)),
        "data: boxes whose file or split differs from that of their image: 1",
    ),
    "box of no image": (
        in_rows("data/boxes.parquet", lambda rows: rows[3].update(image_id=9)),
        "images that do not exist",
    ),
    "boxes out of order": (in_rows("data/boxes.parquet", lambda rows: rows.reverse()), "not in order"),
    "box out of the picture": (
        in_rows("data/boxes.parquet", lambda rows: rows[2].update(x_max=64.5)),
        "data: boxes that are empty or lie outside their image: 1",
    ),
    "empty box": (
        in_rows("data/boxes.parquet", lambda rows: rows[2].update(y_min=48.0)),
        "data: boxes that are empty or lie outside their image: 1",
    ),
    "box that is no number": (
        in_rows("data/boxes.parquet", lambda rows: rows[2].update(x_min=float("nan"))),
        "data: boxes that are empty or lie outside their image: 1",
    ),
    "swapped label": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(class_index=1)),
        "data: boxes whose class name and class index do not match: 1",
    ),
    "swapped name": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(class_name="bicycle")),
        "data: boxes by class_name: {'person': 1, 'bicycle': 3}, expected {'person': 2, 'bicycle': 2}",
    ),
    "unknown class": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(class_index=7)),
        "data: boxes whose class name and class index do not match: 1",
    ),
    "wrong split of an image": (
        in_rows("data/images.parquet", lambda rows: rows[1].update(split="test")),
        "data: images by split: {'train': 2, 'val': 1, 'test': 1}, expected {'train': 3, 'val': 1, 'test': 0}",
    ),
    "splits of two images exchanged": (
        in_rows("data/images.parquet", lambda rows: (rows[1].update(split="val"), rows[2].update(split="train"))),
        "data: images in the folder of another split: 2",
    ),
    "wrong split of a box": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(split="val")),
        "data: boxes by split: {'train': 2, 'val': 2, 'test': 0}, expected {'train': 3, 'val': 1, 'test': 0}",
    ),
    "truncated images": (cut("data/images.parquet"), "parquet: the files cannot be read"),
    "truncated boxes": (cut("data/boxes.parquet"), "parquet: the files cannot be read"),
    "missing file": (gone("data/boxes.parquet"), r"parquet: the files cannot be read \(FileNotFoundError"),
    "missing video": (
        in_rows("data/videos.parquet", lambda rows: rows.pop()),
        "data: videos.parquet lacks files-c, which has images",
    ),
    "extra video": (
        in_rows("data/videos.parquet", lambda rows: rows.append(rows[0] | {"video_key": "files-d"})),
        "data: videos.parquet has files-d, which has no images",
    ),
    "video twice": (in_rows("data/videos.parquet", lambda rows: rows.append(rows[0])), "has a video twice"),
    "wrong number of a video": (
        in_rows("data/videos.parquet", lambda rows: rows[1].update(num_images=2)),
        r"data: videos.parquet states 2 images and 1 box for files-b, expected 1 image and 1 box",
    ),
    "wrong split of a video": (
        in_rows("data/videos.parquet", lambda rows: rows[0].update(split="val")),
        "data: videos.parquet has videos whose split differs from that of their images",
    ),
    "truncated videos": (cut("data/videos.parquet"), r"videos: the files cannot be read \(DataMinerError"),
    "wrong box": (  # nothing in the table itself is wrong
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(x_min=4.5)),
        r"instances_train.json: train/files-a_000000.jpg: the label of class 0 at \(4.0, .* box of class 0 at \(4.5,",
    ),
}
IN_EXPORTS: dict[str, Fault] = {
    "truncated image": PICTURES["truncated image"],
    "swapped label": IN_RELEASES["swapped label"],
    "wrong split of a video": IN_RELEASES["wrong split of a video"],
    "wrong box": (
        in_rows("data/boxes.parquet", lambda rows: rows[0].update(x_min=4.5)),
        "data: train/files-a_000000.jpg differs from the release",
    ),
    "another address": (
        in_rows("data/images.parquet", lambda rows: rows[2].update(video_url="https://videos.example/x")),
        "data: val/files-b_000000.jpg differs from the release",
    ),
}
