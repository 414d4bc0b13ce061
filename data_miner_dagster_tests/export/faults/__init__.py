"""Faults that the read-back must find. Each format has one module, named after it.

A module has `IN_RELEASES` if its format is in releases, and `IN_EXPORTS` if its format is an export. Each kind of fault
is needed once: a verifier that checks both is tested on releases, and one fault in an export shows that it runs there.
"""
