"""The files: their layout under the root, atomic writes, and Parquet tables with fingerprints.

Belongs here: paths and bytes. Does not belong here: what the bytes mean, and any decision.
"""
