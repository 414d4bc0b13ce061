"""The files under the root: their layout, atomic writes, and Parquet tables with fingerprints.

Belongs here: paths and bytes. Does not belong here: decisions that depend on the contents of the files.
"""
