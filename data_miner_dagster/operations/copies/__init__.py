"""Copies outside the root: backups and restores, releases in buckets and on hubs."""
