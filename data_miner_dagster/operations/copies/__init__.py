"""Copies outside the root: backups and what is restored from them, releases in buckets and on hubs."""
