"""Check that FiftyOne imports the dataset completely, and that its corrected export can be imported here."""

from pathlib import Path

import fiftyone as fo
from corrections import arguments, corrected, expect, near

FIELD = "detections"


def main():
    """Check both exports, and correct the first."""
    work, facts = arguments()
    for folder, images in facts.items():
        dataset = fo.Dataset.from_dir(str(work / folder), dataset_type=fo.types.FiftyOneDataset, name=folder)
        check(work / folder, dataset, images)
    dataset = fo.load_dataset("export")
    for sample in dataset:
        correct(sample, facts["export"][name_of(work / "export", sample)])
    dataset.export(
        export_dir=str(work / "returned" / "dataset"), dataset_type=fo.types.FiftyOneDataset, export_media=False
    )
    dataset.export(
        labels_path=str(work / "returned" / "labels.json"),
        dataset_type=fo.types.FiftyOneImageDetectionDataset,
        label_field=FIELD,
    )
    dataset.export(
        labels_path=str(work / "returned" / "coco.json"), dataset_type=fo.types.COCODetectionDataset, label_field=FIELD
    )


def name_of(folder, sample):
    """Return the name of a picture below `images/`."""
    return Path(sample.filepath).relative_to(folder / "images").as_posix()


def check(folder, dataset, images):
    """Compare every value of the samples with the facts."""
    expect("media type", dataset.media_type, "image")
    found = {name_of(folder, sample): sample for sample in dataset}
    expect("samples", sorted(found), sorted(images))
    for name, fact in images.items():
        sample = found[name]
        expect(f"{name} exists", Path(sample.filepath).is_file(), True)
        facts = (sample.frame_id, sample.pts_seconds, sample.metadata.width, sample.metadata.height)
        expect(f"{name}: facts", facts, (fact["frame_id"], fact["pts_seconds"], 64, 48))
        found_boxes = zip(sample[FIELD].detections, fact["boxes"], fact["verdicts"], strict=True)
        for box, (class_name, corners, confidence, box_id), verdict in found_boxes:
            expect(f"{name}: box", (box.label, box.confidence, box.box_id), (class_name, confidence, box_id))
            found_verdict = box["verifier_verdict"] if box.has_field("verifier_verdict") else None
            expect(f"{name}: verdict", found_verdict, verdict)
            x, y, width, height = box.bounding_box
            place = (x * 64, y * 48, (x + width) * 64, (y + height) * 48)
            expect(f"{name}: {corners} is {place}", near(place, corners, 1e-5), True)
    boxes = [box for fact in images.values() for box in fact["boxes"]]
    expect("boxes", dataset.count(f"{FIELD}.detections"), len(boxes))
    expect("confidences", dataset.bounds(f"{FIELD}.detections.confidence"), bounds([box[2] for box in boxes]))


def bounds(values):
    """Return the smallest and the largest value."""
    return min(values), max(values)


def correct(sample, fact):
    """Correct the boxes of a sample, and tag it."""
    known, boxes = sample[FIELD].detections, []
    for place, class_name, corners in corrected(fact["boxes"], fact["truth"]):
        box = known[place] if place is not None else fo.Detection(label=class_name)
        if corners is not None:
            left, top, right, bottom = corners
            box.bounding_box = [left / 64, top / 48, (right - left) / 64, (bottom - top) / 48]
        boxes.append(box)
    sample[FIELD].detections = boxes
    sample.tags.append("reviewed")
    sample.save()


if __name__ == "__main__":
    main()
