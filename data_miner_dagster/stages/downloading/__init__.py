"""Decisions of downloading: how to handle a failure, and when a whole site refuses requests."""
