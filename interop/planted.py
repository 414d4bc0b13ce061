"""Export a planted project, and import the files that a tool has written."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.domain.tables import VERDICT_COLUMN
from data_miner_dagster.export.codec import Destination
from data_miner_dagster.export.formats import EXPORT_FORMATS
from data_miner_dagster.export.round_trips import box_ids
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.releasing.exporting import export_release
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.reviewing.round_trips import ReturnedFile, find_sent, import_corrections
from data_miner_dagster_tests.support.faulty_labels import (
    FaultyProject,
    build_faulty_project,
    faults_of_release,
)
from data_miner_dagster_tests.support.releases import HEADER, IMAGES, write_images, write_pictures

NUM_IMAGES: Final = 60
ODD_NAMES: Final = ('Füße & "x"/<y>', "no", "reviewed", "a/b\\c", "two  blanks'", "日本", "{{label}}", "x" * 64)


def write_export(work: Path, tool: str) -> None:
    """Write the files that the tool's check reads.

    `export/` is the export of a release, and `odd/` one with unusual class names. `facts.json` contains, by folder and
    picture, each box with its class, corners, confidence, id and verdict, and the true objects.
    """
    project = build_faulty_project(work / "root", NUM_IMAGES)
    release_project(project.platform, "cyclists")
    export_release(project.platform, "cyclists", format=tool, to=work / "export")
    sent = find_sent(project.platform, "cyclists", work / "export")
    header = replace(HEADER, class_names=ODD_NAMES, extra_columns=(VERDICT_COLUMN,))
    box = replace(IMAGES[0].boxes[0], verifier_verdict="confirmed")
    border = replace(box, box_xyxy=(0.0, 0.0, 64.0, 48.0))
    odd = (
        replace(IMAGES[0], boxes=tuple(replace(box, class_name=name) for name in ODD_NAMES)),
        replace(IMAGES[1], boxes=()),
        replace(IMAGES[2], boxes=(replace(border, class_name=ODD_NAMES[0]),)),
    )
    write_pictures(work / "odd", odd)
    with StoredPictures(ExtractionConfig()) as pictures:
        writer = EXPORT_FORMATS[tool].codec.open_writer(Destination(work / "odd", header, work / "odd", pictures))
        write_images(writer, odd)
    facts = {
        folder: {
            image.file_name: {
                "frame_id": image.frame_id,
                "pts_seconds": image.pts_seconds,
                "boxes": [
                    [box.class_name, list(box.box_xyxy), box.confidence, box_id]
                    for box, box_id in zip(image.boxes, box_ids(image), strict=True)
                ],
                "verdicts": [box.verifier_verdict for box in image.boxes],
                "truth": project.truth.get(image.frame_id, []) if folder == "export" else [],
            }
            for image in images
        }
        for folder, images in (("export", list(sent.images())), ("odd", odd))
    }
    (work / "facts.json").write_text(json.dumps(facts, ensure_ascii=False))


def read_returned(work: Path, tool: str) -> Iterator[str]:
    """Yield the errors that remain after importing the files that the tool's packages wrote.

    The files are in `returned/`, and each is a person's complete review of the export. A file whose name begins with
    `coco` is in that format, the others are in the tool's own.
    """
    for path in sorted((work / "returned").iterdir()):
        root = work / f"root of {path.stem}"
        project = build_faulty_project(root, NUM_IMAGES)
        release_project(project.platform, "cyclists")
        kind = "coco" if path.name.startswith("coco") else tool
        yield from (f"{path.name}: {line}" for line in _after(project, path, kind, work / "export"))


def _after(project: FaultyProject, path: Path, kind: str, export: Path) -> Iterator[str]:
    sent = find_sent(project.platform, "cyclists", path, folder=export)
    file = ReturnedFile(path, kind, "somebody", all_reviewed=True)
    outcome = import_corrections(project.platform, "cyclists", file, sent)
    if outcome.left_out or outcome.num_reviewed != NUM_IMAGES:
        yield f"{outcome.num_reviewed} images were reviewed, left out: {dict(outcome.left_out)}"
    found = {word.value: number for word, number in outcome.words.items()}
    wanted = {
        "right": NUM_IMAGES * 3 - project.num_shifted - project.num_missing,
        "wrong": project.num_wrong,
        "shifted": project.num_shifted,
        "missing": project.num_missing,
        "complete": NUM_IMAGES,
    }
    if found != wanted:
        yield f"it says {found}, expected {wanted}"
    release_project(project.platform, "cyclists")
    yield from faults_of_release(project, "v002")
