"""Back up, restore or publish in a process that tests kill: `python -m ... WHAT ROOT ADDRESS SETTINGS`."""

import sys
from pathlib import Path

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.operations.object_stores import open_place
from data_miner_dagster.operations.platform import Platform


def main() -> None:
    """Carry out the copy that the arguments describe."""
    what, root, address, settings = sys.argv[1:]
    config = PlatformConfig.model_validate_json(settings)
    platform = Platform(config, Path(root))
    if what == "backup":
        from data_miner_dagster.operations.copies.backup import make_backup

        make_backup(platform, open_place(config.objects, address))
    elif what == "restore":
        from data_miner_dagster.operations.copies.restore import restore_root

        restore_root(open_place(config.objects, address), platform.layout)
    else:
        from data_miner_dagster.operations.copies.publishing import publish_release

        publish_release(platform, "cyclists", address)


if __name__ == "__main__":
    main()
