"""The software-defined assets: thin shells around `operations/`, one file per stage.

Belongs here: partitions, pools, kinds and metadata. Does not belong here: logic. If an asset needs an `if` about
frames, move that code to `operations/`. Operations are imported inside the functions, because Dagster loads the
definitions in every process, and a run should pay only for what it uses.
"""
