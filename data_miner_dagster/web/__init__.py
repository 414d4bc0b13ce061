"""Dagster's web server behind our own access guard.

Belongs here: deciding which requests are allowed. Does not belong here: starting the server (cli/up.py).
"""
