"""Compare the catalog with the files, remove data, forget videos, and check the environment."""
