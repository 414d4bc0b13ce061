"""Operations: one plain function a stage, which brings stage, models, files and catalog together.

Belongs here: claim, read what is pending, call the stage, write files, then rows in one transaction, report outcomes.
Does not belong here: Dagster (assets are thin shells around these), and decisions (they are the stage's).
Assets, the `data-miner` CLI and the tests call the same functions.
"""
