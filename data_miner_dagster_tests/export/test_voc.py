from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from data_miner_dagster.export.voc import VocWriter
from data_miner_dagster_tests.support.releases import HEADER, IMAGES, write_images, write_pictures


def test_voc__reads_back_with_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import VOCDetection  # also imports torch's compiler, which takes seconds

    write_pictures(tmp_path / "release")
    devkit = tmp_path / "VOCdevkit" / "VOC2012"  # where torchvision expects the files
    devkit.mkdir(parents=True)
    write_images(VocWriter(devkit, HEADER, tmp_path / "release"))
    train = VOCDetection(str(tmp_path), year="2012", image_set="train")
    assert [picture.size for picture, _ in train] == [(64, 48)] * 3
    annotations = [target["annotation"] for _, target in train]
    assert [annotation["filename"] for annotation in annotations] == [
        "files-a_000000.jpg",
        "files-a_000002.jpg",
        "files-c_000001.jpg",
    ]
    # VOC counts pixels from 1: a box from 4.0 to 40.0 covers the fifth to the fortieth pixel
    assert [(box["name"], box["bndbox"]) for box in annotations[0]["object"]] == [
        ("person", {"xmin": "5", "ymin": "7", "xmax": "40", "ymax": "30"}),
        ("bicycle", {"xmin": "11", "ymin": "9", "xmax": "30", "ymax": "47"}),
    ]
    assert annotations[1]["object"] == []
    _, whole = VOCDetection(str(tmp_path), year="2012", image_set="val")[0]
    assert whole["annotation"]["object"][0]["bndbox"] == {"xmin": "1", "ymin": "1", "xmax": "64", "ymax": "48"}
    assert (devkit / "ImageSets" / "Main" / "test.txt").read_text() == ""


def test_voc_writer__foreign_text_is_text(tmp_path: Path) -> None:
    write_pictures(tmp_path / "release")
    (tmp_path / "out").mkdir()
    box, _ = IMAGES[0].boxes
    url = "https://videos.example/?a=1&b=<2>"
    image = replace(IMAGES[0], boxes=(replace(box, class_name='<!ENTITY x "Füße">'),), video_url=url)
    write_images(VocWriter(tmp_path / "out", HEADER, tmp_path / "release"), [image])
    root = ElementTree.parse(tmp_path / "out" / "Annotations" / "files-a_000000.xml").getroot()
    assert root.findtext("object/name") == '<!ENTITY x "Füße">'
    assert root.findtext("source/image") == url
