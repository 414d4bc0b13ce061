"""Folders of students under a root: the record and the model files of each student."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.domain.students import Student
from data_miner_dagster.storage.layout import StorageLayout

STUDENT_FILE: Final = "student.json"
"""The record of a student. It is written last, so a folder without it contains no student."""
CURVE_FILE: Final = "curve.csv"


def write_student(folder: Path, student: Student) -> None:
    """Write the record of a student into its folder, whose other files must be in place."""
    text = json.dumps(as_json(student), indent=1, ensure_ascii=False) + "\n"
    (folder / STUDENT_FILE).write_text(text, encoding="utf-8")


def read_student(folder: Path) -> Student | None:
    """Return the record of the student in `folder`, or None if the folder contains no student.

    `folder` is named after the release's version, inside the folder of the project (`StorageLayout.student_folder`).

    Raises:
        DataMinerError: the record is damaged.
    """
    path = folder / STUDENT_FILE
    if not path.is_file():
        return None
    try:
        return from_json(Student, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        why = str(error).splitlines()[0]
        raise DataMinerError(
            f"{path} is damaged ({why[:120]}); run `data-miner train-check {folder.parent.name} --version "
            f"{folder.name} --force` to train this student again, or remove {folder}"
        ) from error


def student_folders(layout: StorageLayout) -> Mapping[tuple[str, str], Path]:
    """Return the folders that contain a student, by (project, release version). No record is read."""
    if not layout.students.is_dir():
        return {}
    paths = sorted(layout.students.glob(f"*/*/{STUDENT_FILE}"))
    found = {(path.parent.parent.name, path.parent.name): path.parent for path in paths}
    return {names: folder for names, folder in found.items() if not folder.name.startswith(".")}
