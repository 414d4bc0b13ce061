"""Worker processes that handle untrusted bytes, with limits and without access to secrets.

`pool.py` is the caller's side, and `serving.py` is the worker's. A module of jobs is started once, performs its
imports, and then only forks. A new worker therefore costs milliseconds, and a killed one is soon replaced.

Belongs here: running any jobs. Does not belong here: the jobs themselves.
"""
