"""The `data-miner` command line."""
