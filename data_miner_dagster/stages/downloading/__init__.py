"""Decisions of downloading: what becomes of a failure, and when a whole site refuses."""
