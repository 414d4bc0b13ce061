"""The catalog of videos and projects, with their statuses and the reasons for them, on SQLite or PostgreSQL.

The functions are grouped by topic. A function that takes a `Database` runs its own transaction, and a function that
takes a `Session` runs in the caller's transaction. Rows returned by a function with its own transaction are detached:
they may be read freely but must not be changed.

Belongs here: tables, migrations, queries, updates, claims; all SQL. Does not belong here: frame rows (Parquet),
Dagster, decisions.
"""
