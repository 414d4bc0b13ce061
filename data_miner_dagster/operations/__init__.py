"""Operations: one plain function per stage, which combines the stage's decisions, models, files and the catalog.

Belongs here: claim, read what is pending, call the stage, write files, then rows in one transaction, report outcomes.
Does not belong here: Dagster (assets are thin shells around these), and decisions (`stages/`). Assets, the `data-miner`
CLI and the tests call the same functions.
"""
