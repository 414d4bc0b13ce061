"""Find the latest student of a project, and draw its learning curve."""

from data_miner_dagster.domain.students import Student
from data_miner_dagster.media.curves import draw_curves
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.previews import Preview
from data_miner_dagster.stages.releasing import version_number
from data_miner_dagster.storage.students import read_student, student_folders


def latest_student(platform: Platform, project: str) -> Student | None:
    """Return the student of the newest release that has one, or None if no release does.

    Raises:
        DataMinerError: the record of the student cannot be read.
    """
    folders = {
        version: folder for (name, version), folder in student_folders(platform.layout).items() if name == project
    }
    if not folders:
        return None
    return read_student(folders[max(folders, key=version_number)])


def curve_preview(student: Student) -> Preview:
    """Return a chart of a student's mAP on `val` after each epoch, beginning with the untrained network."""
    curves = {
        "mAP50": [epoch.map50 for epoch in student.curve],
        "mAP50-95": [epoch.map50_95 for epoch in student.curve],
    }
    return Preview(len(student.curve), draw_curves(curves, unit="epochs"))
