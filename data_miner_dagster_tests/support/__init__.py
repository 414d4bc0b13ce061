"""What several tests start from: platforms with planted projects, rows, frames, clips and small networks.

Belongs here: builders, and fakes that implement a protocol. Does not belong here: tests and fixtures (`conftest.py`).
"""
