"""Dagster's web server, behind a door of ours.

Belongs here: who may ask it for what. Does not belong here: starting it beside the daemon (cli/up.py).
"""
