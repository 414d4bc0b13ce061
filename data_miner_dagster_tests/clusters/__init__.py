"""Runs on a cluster whose nodes are processes of this machine, and die."""
