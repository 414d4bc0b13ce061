"""Detect from one run's downloads that the whole network is down.

Belongs here: failures of the network that no single site causes. Does not belong here: refusals or failures of one
site (operations/politeness.py).
"""

import threading
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.catalog.attempts import clear_attempts
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.transitions import move_video
from data_miner_dagster.domain.errors import OutageError, VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.work import FailureKind, WorkStage
from data_miner_dagster.operations.platform import Platform

_NUM_SITES: Final = 2
"""The network counts as down once this many sites have failed without any answer in between.

On a host without a default route, a single failed site is enough.
"""
_ROUTES: Final = (Path("/proc/net/route"), Path("/proc/net/ipv6_route"))
_IS_UP: Final = 0x1


class NetworkWatch:
    """Detects a network outage from the answers and failures of one run's downloads. Thread-safe."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._lock = threading.Lock()
        self._failed: dict[str, tuple[str, VideoRow]] = {}  # failures since a site last answered, by video

    def note_answer(self) -> None:
        """Note that a site has answered, even with a refusal, which shows that the network works."""
        with self._lock:
            self._failed.clear()

    def note_failure(self, row: VideoRow, site: str, error: VideoPermanentError | VideoTransientError) -> None:
        """Note a failed download. A failure that the network did not cause counts as an answer.

        `row` is the video's row as it was before the attempt.

        Raises:
            OutageError: the network is down. Videos that failed because of the outage are set back to PENDING.
        """
        if not error.is_of_network:
            self.note_answer()
            return
        with self._lock:
            self._failed[row.key] = (site, row)
            sites = {site for site, _ in self._failed.values()}
            if len(sites) < _NUM_SITES and has_default_route():
                return
            failed, self._failed = self._failed, {}
        with self._platform.database.transaction() as session:
            for key, (_, before) in sorted(failed.items()):
                fresh: dict[str, Any] = {"attempts": before.attempts, "retry_after": None, "error": None}
                fresh["error_kind"] = None
                if move_video(session, key, VideoStatus.PENDING, only_from={VideoStatus.FAILED}, **fresh):
                    clear_attempts(session, WorkStage.DOWNLOADING, [key])
        raise OutageError(
            FailureKind.NETWORK,
            f"the network is not available ({', '.join(sorted(sites))}: {error}); check this machine's connection",
        )


def has_default_route() -> bool:
    """Return whether this host has a default route, or True if no routes are listed or they cannot be read."""
    try:
        ipv4, ipv6 = (path.read_text(encoding="ascii").splitlines() if path.exists() else [] for path in _ROUTES)
    except OSError:
        return True
    if not ipv4 and not ipv6:
        return True
    for fields in (line.split() for line in ipv4[1:]):
        if fields[1] == "00000000" and int(fields[3], 16) & _IS_UP:
            return True
    return any(fields[0] == "0" * 32 and fields[1] == "00" and fields[-1] != "lo" for fields in map(str.split, ipv6))
