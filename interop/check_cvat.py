"""Check CVAT: labels and shapes with the models of its SDK, and its XML with Datumaro, its data library.

Two files are returned. Datumaro's own writer of the format writes one. Our code writes the other one as CVAT's server
does: with two decimals, and with the attributes that Datumaro omits.
"""

import json
import xml.etree.ElementTree as ElementTree

from corrections import arguments, corrected, expect, near
from cvat_sdk import models
from datumaro.components.annotation import AnnotationType, Bbox
from datumaro.components.dataset import Dataset

# https://docs.cvat.ai/docs/other/xml_format, for boxes in images
ATTRIBUTES = {
    "image": {"id", "name", "width", "height"},
    "box": {"label", "source", "occluded", "xtl", "ytl", "xbr", "ybr", "z_order"},
    "attribute": {"name"},
}


def main():
    """Check both exports, and correct the first."""
    work, facts = arguments()
    for folder, images in facts.items():
        check_labels(work / folder)
        check_xml(work / folder, images)
        check_datumaro(work / folder, images)
    write_datumaro(work, facts["export"])
    write_xml(work, facts["export"])


def check_labels(folder):
    """Check that a task accepts the labels, and that they equal those in the XML, where each name occurs once."""
    labels = json.loads((folder / "labels.json").read_text())
    for label in labels:
        attributes = [
            models.AttributeRequest(**{**entry, "input_type": models.InputTypeEnum(entry["input_type"])})
            for entry in label["attributes"]
        ]
        models.PatchedLabelRequest(name=label["name"], type=label["type"], attributes=attributes)
    meta = ElementTree.parse(folder / "annotations.xml").getroot().find("meta/task")
    found = [(label.findtext("name"), label.findtext("type")) for label in meta.iter("label")]
    expect("labels", found, [(label["name"], label["type"]) for label in labels])
    expect("no name twice", len({name for name, _ in found}), len(found))


def check_xml(folder, images):
    """Check that each element has the attributes of the format, and that the server accepts each box as a shape."""
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    expect("version", (root.tag, root.findtext("version")), ("annotations", "1.1"))
    expect("mode", root.findtext("meta/task/mode"), "annotation")
    expect("size", root.findtext("meta/task/size"), str(len(images)))
    names = [label.findtext("name") for label in root.iter("label")]
    frames = root.findall("image")
    expect("frames", [int(image.get("id")) for image in frames], list(range(len(images))))
    for image in frames:
        for element in image.iter():
            expect(f"attributes of {element.tag}", set(element.attrib), ATTRIBUTES[element.tag])
        fact = images[image.get("name")]
        boxes = zip(image.findall("box"), fact["boxes"], fact["verdicts"], strict=True)
        for box, (class_name, corners, confidence, box_id), verdict in boxes:
            values = {entry.get("name"): entry.text or "" for entry in box.findall("attribute")}
            expect("verdict", values.get("verifier_verdict"), verdict)
            expect(
                "box",
                (box.get("label"), values["confidence"], values["data_miner_box"]),
                (class_name, str(confidence), box_id),
            )
            shape = models.LabeledShapeRequest(
                type=models.ShapeType("rectangle"),
                label_id=names.index(class_name),
                frame=int(image.get("id")),
                occluded=box.get("occluded") == "1",
                z_order=int(box.get("z_order")),
                source=box.get("source"),
                points=[float(box.get(name)) for name in ("xtl", "ytl", "xbr", "ybr")],
                attributes=[models.AttributeValRequest(spec_id=0, value=value) for value in values.values()],
            )
            expect("points", near(shape.points, corners, 1e-6), True)


def check_datumaro(folder, images):
    """Check that Datumaro finds the same boxes."""
    dataset = Dataset.import_from(str(folder), "cvat")
    labels = dataset.categories()[AnnotationType.label]
    found = {item.id: item for item in dataset}
    expect("items", sorted(found), sorted(name.rpartition(".")[0] for name in images))
    for name, fact in images.items():
        boxes = found[name.rpartition(".")[0]].annotations
        for box, (class_name, corners, confidence, _) in zip(boxes, fact["boxes"], strict=True):
            expect("label", labels[box.label].name, class_name)
            expect("confidence", float(box.attributes["confidence"]), confidence)
            expect(f"{name}: {corners}", near(box.points, corners, 0.006), True)  # Datumaro keeps two decimals


def write_datumaro(work, images):
    """Correct the boxes in Datumaro, and write CVAT's format with it."""
    dataset = Dataset.import_from(str(work / "export"), "cvat")
    labels = dataset.categories()[AnnotationType.label]
    for item in list(dataset):
        fact = images[f"{item.id}.jpg"]
        boxes = []
        for place, class_name, corners in corrected(fact["boxes"], fact["truth"]):
            known = item.annotations[place] if place is not None else None
            if corners is None:
                boxes.append(known)
                continue
            left, top, right, bottom = corners
            attributes = known.attributes if known is not None else {}
            label = labels.find(class_name)[0]
            boxes.append(Bbox(left, top, right - left, bottom - top, label=label, attributes=attributes))
        dataset.put(item.wrap(annotations=boxes))
    dataset.export(str(work / "datumaro"), "cvat", save_media=False)
    (written,) = (work / "datumaro").rglob("*.xml")
    written.rename(work / "returned" / "datumaro.xml")


def write_xml(work, images):
    """Correct the boxes, and write them as CVAT's server does."""
    tree = ElementTree.parse(work / "export" / "annotations.xml")
    for image in tree.getroot().findall("image"):
        fact, entries = images[image.get("name")], image.findall("box")
        for entry in entries:
            image.remove(entry)
        for place, class_name, corners in corrected(fact["boxes"], fact["truth"]):
            box = ElementTree.SubElement(image, "box", label=class_name, source="manual", occluded="0", z_order="0")
            for name, edge in zip(("xtl", "ytl", "xbr", "ybr"), corners or fact["boxes"][place][1], strict=True):
                box.set(name, f"{edge:.2f}")
            for entry in entries[place] if place is not None else ():
                ElementTree.SubElement(box, "attribute", name=entry.get("name")).text = entry.text
    tree.write(work / "returned" / "server.xml", encoding="utf-8", xml_declaration=True)


if __name__ == "__main__":
    main()
