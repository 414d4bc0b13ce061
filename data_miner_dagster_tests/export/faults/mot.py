from data_miner_dagster_tests.export.faults.planting import Fault, copied, copied_folder, exchanged, gone, in_text

GT = "train/files-a/gt/gt.txt"
IN_EXPORTS: dict[str, Fault] = {
    "another object": (
        in_text(GT, "1,1,4.0", "1,2,4.0"),
        "gt.txt has '1,2,4.0,.*' instead of object 1 of frame 1",
    ),
    "wrong box": (in_text(GT, "1,1,4.0", "1,1,4.5"), "gt.txt has '1,1,4.5,.*' instead of object 1 of frame 1"),
    "wrong frame": (in_text(GT, "1,1,4.0", "2,1,4.0"), "instead of object 1 of frame 1"),
    "wrong class": (in_text(GT, ",1,1,1\n", ",1,2,1\n"), "instead of object 1 of frame 1"),
    "certain of a box that a person drew": (in_text(GT, ",0,2,1\n", ",1,2,1\n"), "instead of object 10"),
    "missing object": (in_text(GT, "1,1,4.0,6.0,36.0,24.0,1,1,1\n", ""), "gt.txt has 3 lines, expected 4"),
    "more frames": (
        in_text("val/files-b/seqinfo.ini", "seqLength=1", "seqLength=2"),
        "files-b: seqinfo.ini has seqLength=2, expected 1",
    ),
    "another time": (in_text("train/files-a/times.csv", "2,2.0", "2,2.5"), "times.csv does not list the ids and times"),
    "another class": (
        in_text("train/files-a/gt/labels.txt", "person", "people"),
        "labels.txt does not list the classes",
    ),
    "sequence that is not listed": (in_text("train/sequences.txt", "files-c\n", ""), "does not list its 2 sequences"),
    "another picture": (
        exchanged("train/files-a/img1/000001.jpg", "train/files-a/img1/000002.jpg"),
        "train/files-a: the picture of frame 1 is missing or differs from train/files-a_000000.jpg",
    ),
    "missing picture": (
        gone("train/files-a/img1/000001.jpg"),
        "the picture of frame 1 is missing or differs from train/files-a_000000.jpg",
    ),
    "extra picture": (
        copied("train/files-a/img1/000001.jpg", "train/files-a/img1/000009.jpg"),
        "train/files-a: img1: 3 files, expected 2",
    ),
    "another extension": (
        in_text("train/files-a/seqinfo.ini", "imExt=.jpg", "imExt=.png"),
        "the picture of frame 1 is missing or differs from train/files-a_000000.jpg",
    ),
    "extra sequence": (
        copied_folder("train/files-a", "train/files-x"),
        "train: the folders are not those of its 2 sequences",
    ),
    "missing labels": (gone(GT), "mot: the files cannot be read"),
}
