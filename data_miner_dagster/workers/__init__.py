"""Worker processes that handle untrusted bytes, with limits and without access to secrets.

`pool.py` is the caller's side, and `serving.py` is the worker's. A pool has one process that imports its module of jobs
and then only forks, so starting a worker takes milliseconds, and a killed one is soon replaced.

Belongs here: running jobs of any kind. Does not belong here: the jobs themselves.
"""
