"""Dagster's web server behind our own access guard, and the review pages.

Belongs here: deciding which requests are allowed, and the pages. Does not belong here: starting the servers
(cli/up.py).
"""
