"""`python -m data_miner_dagster` is `data-miner`."""

from data_miner_dagster.cli.main import main

if __name__ == "__main__":
    main()
