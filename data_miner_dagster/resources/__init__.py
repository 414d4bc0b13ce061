"""Dagster resources: the platform, configured from the environment."""
