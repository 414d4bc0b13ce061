"""Dagster's own storage: removing old parts of it, and moving it to PostgreSQL.

Belongs here: runs, events, ticks, logs. Does not belong here: the catalog and the files of the root. They decide what
is done; Dagster's storage can be lost without loss of work.
"""
