"""Count a project's frames that wait for review, taking into account answers that no release contains yet."""

from data_miner_dagster.catalog.schema import ProjectRow
from data_miner_dagster.catalog.verdicts import last_said_at
from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.operations.builds import present_basis
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.reviewing.waiting import WAITING


def num_waiting_now(platform: Platform, row: ProjectRow) -> int:
    """Return how many frames of a project are still held back from its release because of an unsure box.

    Answers count as soon as they are stored: frames whose verdicts have changed since the release are judged again. If
    the release or its tables cannot be read or are being rewritten, the result is the number of frames that were
    waiting at the time of the release.
    """
    num_released = row.counts.get(f"settled/lost/{WAITING}", 0)
    if row.released_version is None or last_said_at(platform.database, row.name) is None:
        return num_released
    try:
        if row.built_basis is not None and row.built_basis == present_basis(platform, row):
            return num_released
        from data_miner_dagster.operations.releasing.answers import change_of_waiting  # rarely needed

        return max(0, num_released + change_of_waiting(platform, row.name, row.released_version))
    except (DataMinerError, FileNotFoundError):
        return num_released
