"""Worker processes that handle untrusted bytes, with limits and without access to secrets.

`pool.py` is the caller's side, and `serving.py` is the worker's. A process is started once for each module of jobs,
imports it, and then only forks. A new worker therefore costs milliseconds, and a killed one is soon replaced.

Belongs here: running any jobs. Does not belong here: the jobs themselves.
"""
