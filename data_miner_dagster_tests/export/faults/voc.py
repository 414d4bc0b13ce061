from data_miner_dagster_tests.export.faults.planting import Fault, copied, cut, exchanged, gone, in_text

LABELS = "Annotations/files-a_000000.xml"
IN_EXPORTS: dict[str, Fault] = {
    "missing image": (
        gone("JPEGImages/files-c_000001.jpg"),
        "the image or annotation of train/files-c_000001.jpg is missing",
    ),
    "extra image": (copied("JPEGImages/files-c_000001.jpg", "JPEGImages/x.jpg"), "JPEGImages: 5 files, expected 4"),
    "another image": (
        exchanged("JPEGImages/files-a_000000.jpg", "JPEGImages/files-c_000001.jpg"),
        "train/files-a_000000.jpg: its copy differs from the image",
    ),
    "truncated image": (
        cut("JPEGImages/files-c_000001.jpg"),
        "train/files-c_000001.jpg: its copy differs from the image",
    ),
    "missing labels": (gone(LABELS), "the image or annotation of train/files-a_000000.jpg is missing"),
    "extra labels": (copied(LABELS, "Annotations/x.xml"), "Annotations: 5 files, expected 4"),
    "labels of another image": (
        exchanged(LABELS, "Annotations/files-c_000001.xml"),
        r"it describes \(64, 48\) pixels of files-c_000001.jpg, expected \(64, 48\) pixels of train/files-a_000000.jpg",
    ),
    "wrong size": (in_text(LABELS, "<width>64", "<width>63"), r"files-a_000000.xml: it describes \(63, 48\) pixels"),
    "wrong box": (
        in_text(LABELS, "<xmin>5<", "<xmin>6<"),
        r"train/files-a_000000.jpg: the label of class 0 at \(5, 6, 40, 30\) does not match the box of class 0 at "
        r"\(4, 6, 40, 30\)",
    ),
    "missing corner": (in_text(LABELS, "<xmin>5</xmin>", ""), r"voc: the files cannot be read \(ValueError"),
    "missing box": (in_text("Annotations/files-c_000001.xml", "object>", "thing>"), "voc: the files cannot be read"),
    "swapped label": (
        in_text(LABELS, "<name>person", "<name>bicycle"),
        "label of class 1 .* does not match the box of class 0",
    ),
    "unknown class": (in_text(LABELS, "<name>person", "<name>tram"), r"voc: the files cannot be read \(ValueError"),
    "wrong split": (exchanged("ImageSets/Main/train.txt", "ImageSets/Main/val.txt"), "train.txt: it does not list"),
    "missing line": (in_text("ImageSets/Main/train.txt", "files-a_000002\n", ""), "not list the 3 images"),
    "missing list": (gone("ImageSets/Main/test.txt"), r"voc: the files cannot be read \(FileNotFoundError"),
    "truncated labels": (cut(LABELS), r"voc: the files cannot be read \(ParseError"),
    "entities": (
        in_text(LABELS, "<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>'),
        "voc: the files cannot be read .*declares a document type",
    ),
}
