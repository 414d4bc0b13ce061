"""The software-defined assets: thin shells around `operations/`, one file a stage.

Belongs here: partitions, pools, kinds, metadata. Does not belong here: logic; an asset that needs an `if` about
frames is in the wrong room. Operations are imported inside the functions: Dagster loads the definitions in every
process, and a run should pay only for what it uses.
"""
