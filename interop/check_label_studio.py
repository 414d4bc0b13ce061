"""Check with Label Studio's SDK that the interface and the predictions are valid, and write annotations to import.

Its converter also writes the annotations as COCO, which is imported as well.
"""

import json
import re
from urllib.parse import unquote

from corrections import arguments, corrected, expect, near
from label_studio_sdk.converter import Converter
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import PredictionValue

LOCAL_FILE = re.compile(r"/data/local-files/\?d=(images/(.+))")


def main():
    """Check both exports, and correct the first."""
    work, facts = arguments()
    for folder, images in facts.items():
        interface, tasks = read(work / folder, images)
        if folder == "export":
            returned = [annotated(task, number, images, interface) for number, task in enumerate(tasks, 1)]
    path = work / "returned" / "project-1.json"
    path.write_text(json.dumps(returned))
    converter = Converter((work / "export" / "label_config.xml").read_text(), str(work), download_resources=False)
    converter.convert_to_coco(str(path), str(work / "coco"), is_dir=False)
    (work / "coco" / "result.json").rename(work / "returned" / "coco.json")


def read(folder, images):
    """Compare every value of an export with the facts, and return its interface and tasks."""
    interface = LabelInterface((folder / "label_config.xml").read_text())
    interface.validate()
    tasks = json.loads((folder / "tasks-00000.json").read_text())
    expect("number of tasks", len(tasks), len(images))
    for task in tasks:
        path, name = (unquote(part) for part in LOCAL_FILE.fullmatch(task["data"]["image"]).groups())
        expect(f"{path} exists", (folder / path).is_file(), True)
        fact = images[name]
        expect(f"{name}: frame", task["data"]["frame_id"], fact["frame_id"])
        (prediction,) = task["predictions"]
        expect(f"{name}: errors", interface.validate_prediction(prediction, return_errors=True), [])
        PredictionValue.model_validate({key: prediction[key] for key in ("model_version", "result")})
        regions = zip(prediction["result"], fact["boxes"], fact["verdicts"], strict=True)
        for region, (class_name, corners, confidence, box_id), verdict in regions:
            value = region["value"]
            expect(f"{name}: verdict", region.get("meta", {}).get("verifier_verdict"), verdict)
            found = (value["rectanglelabels"], region["score"], region["id"])
            expect(f"{name}: box", found, ([class_name], confidence, box_id))
            expect(f"{name}: {corners} is {value}", near(in_pixels(value), corners, 2e-3), True)
    return interface, tasks


def in_pixels(value):
    """Return the corners, in pixels, of a region in a picture of 64 by 48 pixels."""
    x, y = value["x"] * 0.64, value["y"] * 0.48
    return x, y, x + value["width"] * 0.64, y + value["height"] * 0.48


def annotated(task, number, images, interface):
    """Return a task as Label Studio exports it after a person has corrected it."""
    fact = next(fact for fact in images.values() if fact["frame_id"] == task["data"]["frame_id"])
    regions, result = task["predictions"][0]["result"], []
    for place, class_name, corners in corrected(fact["boxes"], fact["truth"]):
        region = {"from_name": "label", "to_name": "image", "type": "rectanglelabels", "image_rotation": 0}
        region |= {"original_width": 64, "original_height": 48, "id": f"new{number}_{len(result)}"}
        region = dict(regions[place]) if place is not None else region
        if corners is not None:
            left, top, right, bottom = (100 * edge / (64, 48)[axis % 2] for axis, edge in enumerate(corners))
            sides = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
            region["value"] = sides | {"rectanglelabels": [class_name]}
        result.append(region)
    annotation = {"id": number, "completed_by": {"id": 1, "email": "ann@example.org"}, "result": result}
    annotation |= {"was_cancelled": False, "ground_truth": False, "task": number, "lead_time": 1.5}
    annotation |= {"created_at": "2026-01-02T03:04:05.678901Z", "updated_at": "2026-01-02T03:04:06.678901Z"}
    expect("annotation is valid", interface.validate_annotation(annotation), True)
    return {"id": number, "annotations": [annotation], "predictions": [], "data": task["data"]}


if __name__ == "__main__":
    main()
