"""Upkeep: compare the catalog with the files, remove data, and forget videos."""
