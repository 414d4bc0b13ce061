"""A process of the tests that takes a device: `python -m ....device_worker URL`. Prints which; ends with its input."""

import sys

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.operations.devices import take_device


def main() -> None:
    """Take one, and hold it."""
    device, _ = take_device(Database(sys.argv[1]), ["cuda:0", "cuda:1"])
    print(device, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
