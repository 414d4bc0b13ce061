"""Maintain Dagster's own storage: remove old parts of it, and move it to PostgreSQL.

Belongs here: runs, events, ticks, logs. Does not belong here: the catalog and the files under the root, which decide
what work is done. If Dagster's storage is lost, no work is lost.
"""
