"""Runs on a cluster whose nodes are processes on this machine, some of which are killed."""
