"""The catalog: which videos, whose, in what state, why. SQLAlchemy 2 on SQLite or PostgreSQL.

Functions by topic over a `Database`. Those that take it are transactions of their own; those that take a `Session` are
parts of their caller's. Rows returned are detached: reading them is free, changing them is not.

Belongs here: tables, migrations, queries, changes, claims; all SQL. Does not belong here: frame rows (Parquet),
Dagster, decisions.
"""
