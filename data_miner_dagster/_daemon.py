"""`python -m data_miner_dagster._daemon`: Dagster's own daemon and its options, with smaller files of runs."""

import os
from pathlib import Path

from dagster._daemon.cli import main

from data_miner_dagster.config.environment import DAGSTER_HOME_VARIABLE
from data_miner_dagster.deployment import use_small_run_files

if __name__ == "__main__":
    if home := os.environ.get(DAGSTER_HOME_VARIABLE):
        use_small_run_files(Path(home))
    main()
