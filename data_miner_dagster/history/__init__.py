"""Dagster's own storage: what of it may go, and how; its way to PostgreSQL.

Belongs here: runs, events, ticks, logs. Does not belong here: the catalog and the files of the root. They decide what
is done; Dagster's storage can be lost without loss of work.
"""
