"""Operations: one plain function per stage, which combines the stage's decisions, models, files and the catalog.

Belongs here: taking claims, reading the pending work, calling the stage, writing files, then rows in one transaction,
and reporting outcomes. Does not belong here: Dagster (assets are thin shells around these functions), and decisions
(`stages/`). Assets, the `data-miner` CLI and the tests call the same functions.
"""
