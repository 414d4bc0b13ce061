"""`calibration/boxes.json` of a project: what verdicts say of the boxes of one detector and class list."""

import json
from pathlib import Path

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.json_records import as_json, from_json
from data_miner_dagster.domain.quality import BoxCalibration
from data_miner_dagster.storage.atomic import write_json


def write_box_calibration(path: Path, calibration: BoxCalibration) -> None:
    """Write the file, whole or not at all. The same calibration gives the same bytes."""
    write_json(path, as_json(calibration))


def read_box_calibration(path: Path) -> BoxCalibration | None:
    """Return what was written, None if there is no such file.

    Raises:
        DataMinerError: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        return from_json(BoxCalibration, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise DataMinerError(
            f"{path} is damaged ({str(error).splitlines()[0][:120]}); `data-miner calibrate PROJECT --boxes` writes it "
            "again, or remove it"
        ) from error


def calibration_fingerprint(calibration: BoxCalibration) -> str:
    """Return a fingerprint of everything in a calibration."""
    return fingerprint_of(as_json(calibration))
