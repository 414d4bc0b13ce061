"""Faults that the read-back must find: one module a format, called as the format is.

A module has `IN_RELEASES`, `IN_EXPORTS` or both, as the format is in releases or exports. It needs a fault of each kind
once: a verifier of both is tried in releases, and exports show that it is at work there.
"""
