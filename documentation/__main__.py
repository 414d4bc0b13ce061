"""Write every page that is generated from the code: `python -m documentation`."""

from data_miner_dagster.config import reference

if __name__ == "__main__":
    reference.main()
