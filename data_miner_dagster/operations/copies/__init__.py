"""Copies outside the root: backups and restores, and releases in buckets and on hubs."""
