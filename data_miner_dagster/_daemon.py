"""Run Dagster's own daemon, with all its options, but with smaller run files and faster commits."""

import os
from contextlib import ExitStack
from pathlib import Path

from data_miner_dagster.domain.lasting_objects import creating_lasting_objects

with creating_lasting_objects():
    from dagster._daemon.cli import main

    from data_miner_dagster.catalog.sqlite_files import kept_open
    from data_miner_dagster.config.environment import DAGSTER_HOME_VARIABLE
    from data_miner_dagster.deployment import use_light_files
    from data_miner_dagster.storage.dagster_home import dagster_history_files

if __name__ == "__main__":
    with ExitStack() as stack:
        if home := os.environ.get(DAGSTER_HOME_VARIABLE):
            use_light_files(Path(home))
            stack.enter_context(kept_open(dagster_history_files(Path(home))))
        main()
