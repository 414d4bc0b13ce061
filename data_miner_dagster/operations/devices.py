"""Choose the device for this process's models, so that runs on one machine use different devices if possible.

A process takes a device by holding a claim on it until the process ends. If the process is killed, other processes on
the same host can take the device immediately. All containers on a machine share the claims on its devices.
"""

import itertools
import logging
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.claims import Claim, keep_claim, try_claim
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.models.devices import devices_here

_MOST_SHARERS: Final = 64

logger = logging.getLogger(__name__)

_taken: Final[dict[tuple[str, ...], str]] = {}
_taking: Final = threading.Lock()


def device_of_process(database: Database, devices: Sequence[str]) -> str:
    """Return the device that this process uses, chosen from `devices`. Later calls with the same list return it again.

    Raises:
        ConfigError: this machine has none of the devices.
    """
    with _taking:
        if (wanted := tuple(devices)) not in _taken:
            here = devices_here(devices)
            _taken[wanted] = here[0] if len(here) == 1 else take_device(database, here)[0]
            logger.info("the models of this process run on %s", _taken[wanted])
        return _taken[wanted]


def take_device(database: Database, devices: Sequence[str]) -> tuple[str, Claim | None]:
    """Take the device that the fewest processes on this machine use. Return the device and the claim on it.

    If several devices have equally few users, the first of them is taken. The claim is renewed until the process ends.
    If every device already has 64 users, the result is the first device and None.
    """
    for number, device in itertools.product(range(_MOST_SHARERS), devices):
        claim = try_claim(database, f"device/{_machine()}/{device}/{number}")
        if claim is not None:
            keep_claim(database, claim)
            return device, claim
    return devices[0], None


def _machine() -> str:
    # The boot id is the same in all containers of a machine, which see the same devices.
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text(encoding="ascii").strip() if boot.exists() else socket.gethostname()
