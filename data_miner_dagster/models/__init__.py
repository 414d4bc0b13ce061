"""Models behind the Protocols of `protocols/`: a registry of pinned entries, loaders, wrappers.

Belongs here: weights, pre- and post-processing. Does not belong here: what is done with the answers.
Importing any module here must not import torch; loading does.
"""
