"""Offer students as models: each network that `data-miner train-check` stored under a root is a named detector."""

from pathlib import Path

from data_miner_dagster.config.models import ModelEntryConfig
from data_miner_dagster.domain.students import EXPORTED_NAME, LICENCE, student_name
from data_miner_dagster.stages.releasing import version_number
from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.storage.students import student_folders


def student_entries(layout: StorageLayout) -> dict[str, ModelEntryConfig]:
    """Return the registry entries of the students under a root, by name.

    Each student is named after its release. The latest student of a project also has a name without a version.
    """
    entries = {}
    folders = student_folders(layout)
    for (project, version), folder in sorted(folders.items(), key=lambda item: version_number(item[0][1])):
        entries[student_name(project, version)] = entries[student_name(project)] = student_entry(folder)
    return entries


def student_entry(folder: Path) -> ModelEntryConfig:
    """Return the registry entry of the student in a folder. ONNX is not a pickle, so opening it runs no code."""
    return ModelEntryConfig(architecture="ultralytics", source=f"ultralytics:{folder / EXPORTED_NAME}", licence=LICENCE)
