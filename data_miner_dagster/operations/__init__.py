"""Carry out the stages, in plain functions that combine a stage's decisions, its models, its files and the catalog.

Belongs here: taking claims, reading the pending work, calling the stage, writing files, then rows in one transaction,
and reporting outcomes. Does not belong here: Dagster (assets are thin shells around these functions), and decisions
(`stages/`). Assets, the `data-miner` CLI and the tests call the same functions.
"""
