"""What tests of several rooms are built on: platforms with planted projects, rows, frames, clips, small networks.

Belongs here: builders, and fakes that implement a protocol. Does not belong here: tests and fixtures (`conftest.py`).
"""
