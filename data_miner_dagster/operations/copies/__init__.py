"""Store copies outside the root: backups, which can be restored, and releases in buckets and on hubs."""
