"""Dagster's web server behind our own access guard.

Belongs here: which requests are allowed. Does not belong here: starting the server beside the daemon (cli/up.py).
"""
