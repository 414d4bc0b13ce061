"""Keeping a root in order: comparing catalog and files, removing, forgetting."""
