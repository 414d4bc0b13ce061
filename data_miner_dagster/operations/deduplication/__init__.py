"""Deduplication: choosing representatives among a project's kept frames. The entry is `deduplicate_project`."""
