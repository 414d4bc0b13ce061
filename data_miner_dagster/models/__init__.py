"""Models that implement the Protocols of `protocols/`: a registry of pinned entries, loaders, wrappers.

Belongs here: weights, pre- and post-processing. Does not belong here: the use of the models' outputs.
Importing any module here must not import torch; loading does.
"""
