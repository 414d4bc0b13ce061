"""Data Miner on Dagster: from one YAML file to a deduplicated, labelled, versioned dataset."""

__version__ = "0.1.0"
