"""Models that implement the Protocols in `protocols/`: a registry of pinned entries, loaders and wrappers.

Belongs here: weights, pre- and post-processing. Does not belong here: the use of the models' outputs.
Importing a module of this package must not import torch. Only loading a model may import it.
"""
