"""Separate processes that handle untrusted bytes, with limits and without secrets. Knows nothing about the jobs.

`pool.py` is the caller's side and `serving.py` is the worker's. A module of jobs is started once, imports what it
needs, and then only forks. A new worker therefore costs milliseconds, and a killed one is soon replaced.
"""
