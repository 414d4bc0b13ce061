"""One Protocol per replaceable capability.

Implementations are in `models/`, `index/` and others; fakes only in tests.
"""
