"""The catalog: which videos, whose, in what state, why. SQLAlchemy 2 on SQLite or PostgreSQL.

Belongs here: tables, migrations, queries, claims. Does not belong here: frame rows (Parquet), Dagster, decisions.
"""
