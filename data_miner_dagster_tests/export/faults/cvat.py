from data_miner_dagster_tests.export.faults.planting import Fault, cut, gone, in_text
from data_miner_dagster_tests.export.faults.shown import SHOWN

XML = "annotations.xml"
IN_EXPORTS: dict[str, Fault] = SHOWN | {
    "no annotations": (gone(XML), r"cvat: the files cannot be read \(ConfigError.*No such file"),
    "truncated annotations": (cut(XML), r"cvat: the files cannot be read \(ConfigError"),
    "fewer images": (
        in_text(XML, '<image id="1" name="train/files-a_000002.jpg" width="64" height="48" />', ""),
        "image 2 is .*files-b_000000.jpg.*expected .*files-a_000002.jpg",
    ),
    "wrong size": (in_text(XML, 'width="64"', 'width="63"'), r"image 0 is \('train/files-a_000000.jpg', 63, 48\)"),
    "wrong box": (
        in_text(XML, 'xtl="4.0"', 'xtl="5.0"'),
        r"label of class 0 .* does not match the box of class 0 at \(4.0, 6.0, 40.0, 30.0\)",
    ),
    "missing corner": (in_text(XML, 'xtl="4.0" ', ""), r"cvat: the files cannot be read .*KeyError: 'xtl'"),
    "turned box": (in_text(XML, 'z_order="0"', 'rotation="5.0"'), "train/files-a_000000.jpg: 1 label, expected 2"),
    "swapped label": (
        in_text(XML, 'label="person"', 'label="bicycle"'),
        "label of class 1 .* does not match the box of class 0",
    ),
    "unknown label": (in_text(XML, 'label="person"', 'label="tram"'), r"cvat: the files cannot be read \(ValueError"),
    "another confidence": (in_text(XML, '"confidence">0.5', '"confidence">0.6'), "the confidences, ids"),
    "another id of a box": (in_text(XML, '"data_miner_box">', '"data_miner_box">0'), "the confidences, ids"),
    "missing label": (in_text("labels.json", "bicycle", "tram"), "labels.json: the labels do not match the classes"),
    "entities": (
        in_text(XML, "<annotations>", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>'),
        "cvat: the files cannot be read .*declares a document type",
    ),
}
