"""Decide whether a download may begin, how to handle a failure, and when a whole site refuses requests."""
