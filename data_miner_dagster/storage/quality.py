"""Read and write the files about the quality of a project's boxes: `calibration/boxes.json` and `evaluation.json`."""

import json
from pathlib import Path
from typing import TypeVar

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.domain.quality import BoxCalibration, Evaluation
from data_miner_dagster.storage.atomic import write_json

_Record = TypeVar("_Record")


def write_quality(path: Path, record: BoxCalibration | Evaluation) -> None:
    """Write a record atomically. Equal records yield equal bytes."""
    write_json(path, as_json(record))


def read_box_calibration(path: Path) -> BoxCalibration | None:
    """Return the calibration from verdicts on boxes, or None if the file does not exist.

    Raises:
        DataMinerError: the file is damaged.
    """
    return _read(BoxCalibration, path, "data-miner calibrate PROJECT --boxes")


def read_evaluation(path: Path) -> Evaluation | None:
    """Return the last evaluation against ground truth, or None if the file does not exist.

    Raises:
        DataMinerError: the file is damaged.
    """
    return _read(Evaluation, path, "data-miner evaluate PROJECT --truth FILE")


def quality_fingerprint(record: BoxCalibration | Evaluation) -> str:
    """Return a fingerprint of everything in a record."""
    return fingerprint_of(as_json(record))


def _read(kind: type[_Record], path: Path, command: str) -> _Record | None:
    if not path.is_file():
        return None
    try:
        return from_json(kind, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        why = str(error).splitlines()[0][:120]
        raise DataMinerError(
            f"{path} is damaged ({why}); run `{command}` to recreate the file, or remove it"
        ) from error
