"""The jobs of site workers, with extractors of invented sites."""

from data_miner_dagster.operations.foreign.site_jobs import main
from data_miner_dagster_tests.sites.extractors import (
    BoardIE,
    ChangedIE,
    CrashIE,
    EnvironmentIE,
    TubeIE,
    TubeListIE,
    WaryIE,
    install_in_this_process,
)

if __name__ == "__main__":
    install_in_this_process(TubeIE, TubeListIE, WaryIE, BoardIE, ChangedIE, CrashIE, EnvironmentIE)
    main()
