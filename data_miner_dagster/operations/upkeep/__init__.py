"""Upkeep of a root: comparing the catalog with the files, removing data, and forgetting videos."""
