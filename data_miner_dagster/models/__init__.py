"""Models that implement the Protocols in `protocols/`: a registry of pinned entries, loaders and wrappers.

Belongs here: weights, pre- and post-processing. Does not belong here: the use of the models' outputs.
Importing a module of this package must not import torch. Functions that need torch import it when they are called.
"""
