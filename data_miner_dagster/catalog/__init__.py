"""The catalog of videos: their projects, statuses and reasons. SQLAlchemy 2 on SQLite or PostgreSQL.

The functions are grouped by topic. Those that take a `Database` run their own transaction; those that take a `Session`
run in the caller's. Returned rows are detached: they can be read freely but must not be changed.

Belongs here: tables, migrations, queries, changes, claims; all SQL. Does not belong here: frame rows (Parquet),
Dagster, decisions.
"""
