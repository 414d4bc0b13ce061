"""The files: where everything lies under the root, atomic writes, Parquet tables with fingerprints.

Belongs here: paths and bytes. Does not belong here: what the bytes mean, and any decision.
"""
