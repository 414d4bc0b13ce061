"""Work on bytes from outside, in processes apart that have limits and no secrets. Knows nothing of what the work is.

`pool.py` is the end of the caller, `serving.py` that of the worker. A module of jobs is started once, imports what it
needs, and then only forks: a worker costs milliseconds, and one that was killed is soon replaced.
"""
