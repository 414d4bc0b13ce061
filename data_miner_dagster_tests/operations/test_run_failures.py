import errno
import sqlite3

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from data_miner_dagster.domain.errors import (
    CatalogError,
    ClaimLostError,
    ConfigError,
    DamagedFileError,
    ModelError,
    NothingToReleaseError,
    OutageError,
    OutOfDateError,
    RunEndedError,
    SystematicFaultError,
    TransientError,
)
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.run_failures import failure_of_run


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class OutOfMemoryError(RuntimeError):
    """Has the name and the base class of torch's error."""


def asked_by_project() -> ModelError:
    error = ModelError("no such detector")
    error.is_of_project = True
    return error


AWAY = OperationalError("SELECT 1", {}, sqlite3.OperationalError("server closed the connection unexpectedly"))
BAD_ROW = IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed"))


@pytest.mark.parametrize(
    ("error", "of_embedding", "of_detection"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "STAGE disk_full", "STAGE disk_full"),
        (raised_from(TransientError("full"), OSError(errno.EDQUOT, "quota")), "STAGE disk_full", "STAGE disk_full"),
        (OSError(errno.EROFS, "Read-only file system"), "STAGE store", "STAGE store"),
        (OSError(errno.ESTALE, "Stale file handle"), "STAGE store", "STAGE store"),
        (PermissionError(errno.EACCES, "Permission denied"), "STAGE store", "ITEM failed"),
        (AWAY, "STAGE database", "STAGE database"),
        (raised_from(TransientError("catalog cannot be opened"), AWAY), "STAGE database", "STAGE database"),
        (CatalogError("damaged"), "STAGE database", "STAGE database"),
        (BAD_ROW, "BATCH failed", "ITEM failed"),
        (ModelError("missing"), "STAGE model", "STAGE model"),
        (asked_by_project(), "ITEM model", "ITEM model"),
        (OutOfMemoryError("CUDA out of memory"), "STAGE gpu_memory", "STAGE gpu_memory"),
        (raised_from(ModelError("m"), OutOfMemoryError("CUDA")), "STAGE gpu_memory", "STAGE gpu_memory"),
        (MemoryError(), "STAGE memory", "STAGE memory"),
        (TransientError("not now"), "STAGE outage", "STAGE outage"),
        (OutageError("network", "no route"), "STAGE network", "STAGE network"),
        (ConfigError("no such encoder"), "STAGE settings", "ITEM settings"),
        (NothingToReleaseError("empty"), "BATCH nothing_to_release", "ITEM nothing_to_release"),
        (OutOfDateError("old"), "BATCH out_of_date", "ITEM out_of_date"),
        (DamagedFileError("x"), "BATCH damaged_file", "ITEM damaged_file"),
        (SystematicFaultError("bug"), "BATCH systematic_fault", "ITEM systematic_fault"),
        (ClaimLostError("gone"), "ITEM taken_over", "ITEM taken_over"),
        (RunEndedError("ended"), "ITEM taken_over", "ITEM taken_over"),
        (ZeroDivisionError("bug"), "BATCH failed", "ITEM failed"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, Exception) else "",
)
def test_failure_of_run__whom_it_concerns(error: Exception, of_embedding: str, of_detection: str) -> None:
    for stage, expected in ((WorkStage.EMBEDDING, of_embedding), (WorkStage.DETECTION, of_detection)):
        failure = failure_of_run(error, stage, run_id="r")
        assert f"{failure.scope} {failure.kind}" == expected
        assert failure.run_id == "r"
        assert failure.message
