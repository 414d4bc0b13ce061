from data_miner_dagster_tests.export.faults.planting import Fault, copied, exchanged, gone, in_text

TRAIN = "youtube_vis_train/instances.json"
PICTURES = "youtube_vis_train/JPEGImages/files-a"
IN_EXPORTS: dict[str, Fault] = {
    "another object": (
        in_text(TRAIN, '"track_id": 1,', '"track_id": 2,'),
        "files-a: its objects differ from the release",
    ),
    "wrong outline": (
        in_text(TRAIN, '"counts": [', '"counts": [1, '),
        "files-a: the outlines of object 1 differ from the release",
    ),
    "wrong box": (
        in_text(TRAIN, "[4.0, 6.0", "[4.5, 6.0"),
        "files-a: the outlines of object 1 differ from the release",
    ),
    "evaluated although a person drew it": (
        in_text(TRAIN, '"iscrowd": 1', '"iscrowd": 0'),
        "has iscrowd 0, expected 1",
    ),
    "another class": (
        in_text(TRAIN, '"person"', '"people"'),
        "train: the content does not match cyclists v001 and its classes",
    ),
    "another time": (
        in_text(TRAIN, '"pts_seconds": [0.0', '"pts_seconds": [0.5'),
        "the times of its frames differ from the release",
    ),
    "another video": (
        in_text(TRAIN, '"video_key": "files-a"', '"video_key": "files-x"'),
        "the video is missing or out of order",
    ),
    "wrong split": (
        exchanged(TRAIN, "youtube_vis_val/instances.json"),
        "train/files-a: the video is missing or out of order",
    ),
    "another name": (
        in_text(TRAIN, "files-a/000001.jpg", "files-a/000001.png"),
        "the names of its frames differ from the release",
    ),
    "another picture": (
        exchanged(f"{PICTURES}/000001.jpg", f"{PICTURES}/000002.jpg"),
        "000001.jpg is missing or differs from train/files-a_000000.jpg",
    ),
    "missing picture": (
        gone(f"{PICTURES}/000001.jpg"),
        "000001.jpg is missing or differs from train/files-a_000000.jpg",
    ),
    "extra picture": (copied(f"{PICTURES}/000001.jpg", f"{PICTURES}/000009.jpg"), "4 files, expected 3"),
    "truncated": (in_text(TRAIN, '\n],\n"annotations"', '\n"annotations"'), "youtube vis: the files cannot be read"),
    "missing file": (gone(TRAIN), "youtube vis: the files cannot be read"),
}
