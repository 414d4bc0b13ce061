"""The catalog of videos, projects, their statuses and the reasons for them: SQLAlchemy 2 on SQLite or PostgreSQL.

The functions are grouped by topic. Functions that take a `Database` run their own transaction. Functions that take a
`Session` run in the caller's transaction. Returned rows are detached: they may be read freely but must not be changed.

Belongs here: tables, migrations, queries, updates, claims; all SQL. Does not belong here: frame rows (Parquet),
Dagster, decisions.
"""
