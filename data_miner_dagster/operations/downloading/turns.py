"""Distribute videos to threads so that no thread waits for one site while another site is free.

Does not belong here: deciding whether a request to a site is allowed now (operations/politeness.py).
"""

import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data_miner_dagster.catalog.videos import addresses_of
from data_miner_dagster.domain.addresses import Origin, host_of
from data_miner_dagster.operations.downloading.objects import bucket_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.keys import site_of_key


@dataclass(slots=True)
class _Line:
    """The queue and the limits of one site. Waiting videos are stored with their positions among all videos."""

    most_at_work: float  # math.inf for videos without a site
    waiting: deque[tuple[int, str]] = field(default_factory=deque)
    num_at_work: int = 0
    not_before: float = 0.0  # time.monotonic()

    @property
    def has_room(self) -> bool:
        return bool(self.waiting) and self.num_at_work < self.most_at_work


class Turns:
    """A queue of the videos of one call. Each video is taken once, unless it is put back. Thread-safe.

    Args:
        site_by_key: each video's site, in the wanted order. It is None for videos without a site, such as local files.
        concurrent_per_site: the maximum number of videos of one site to process at the same time.
    """

    def __init__(self, site_by_key: Mapping[str, str | None], *, concurrent_per_site: int) -> None:
        self._changed = threading.Condition()
        self._site_by_key = dict(site_by_key)
        self._lines: dict[str | None, _Line] = {}
        for place, (key, site) in enumerate(self._site_by_key.items()):
            line = self._lines.setdefault(site, _Line(math.inf if site is None else concurrent_per_site))
            line.waiting.append((place, key))
        self._places = {key: place for place, key in enumerate(self._site_by_key)}

    def take(self) -> str | None:
        """Wait until a site with waiting videos is free, and return the key of the first waiting video of a free site.

        Return None once no video is waiting.
        """
        with self._changed:
            while any(line.waiting for line in self._lines.values()):
                now = time.monotonic()
                lines = [line for line in self._lines.values() if line.has_room]
                ready = [line for line in lines if line.not_before <= now]
                if ready:
                    line = min(ready, key=lambda line: line.waiting[0])
                    line.num_at_work += 1
                    return line.waiting.popleft()[1]
                self._changed.wait(min((line.not_before - now for line in lines), default=None))
            return None

    def done(self, key: str) -> None:
        """Free the slot of a video that `take` returned."""
        with self._changed:
            self._lines[self._site_by_key[key]].num_at_work -= 1
            self._changed.notify_all()

    def put_back(self, key: str, seconds: float) -> None:
        """Put a taken video back. For `seconds`, no video of the same site can be taken."""
        with self._changed:
            line = self._lines[self._site_by_key[key]]
            line.num_at_work -= 1
            line.waiting.appendleft((self._places[key], key))
            line.not_before = time.monotonic() + seconds
            self._changed.notify_all()

    def stop(self) -> None:
        """Discard the waiting videos. `take` then returns None unless a video is put back."""
        with self._changed:
            for line in self._lines.values():
                line.waiting.clear()
            self._changed.notify_all()


def site_of(key: str, url: str) -> str:
    """Return the site whose limits a video's requests count towards, or the address's host if the site is unknown."""
    return site_of_key(key) or host_of(url)


def sites_of(platform: Platform, keys: Sequence[str]) -> dict[str, str | None]:
    """Return the site, host or bucket whose limits each video's requests count towards, by video key.

    The value is None for a video that is a local file or is not in the catalog.
    """
    addresses = addresses_of(platform.database, keys)

    def place_of(key: str) -> str | None:
        origin, url = addresses.get(key, (Origin.LOCAL, ""))
        if origin is Origin.OBJECT:
            return bucket_of(url)
        return site_of(key, url) if origin.is_of_site else None

    return {key: place_of(key) for key in keys}
