"""Take a device and print its name; end when stdin does: `python -m ....device_worker URL`."""

import sys

from data_miner_dagster.catalog.database import Database
from data_miner_dagster.operations.devices import take_device


def main() -> None:
    """Take a device and keep it until stdin ends."""
    device, _ = take_device(Database(sys.argv[1]), ["cuda:0", "cuda:1"])
    print(device, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
