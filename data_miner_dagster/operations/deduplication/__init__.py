"""Deduplication: which of a project's kept frames stand for the others. The entry is `deduplicate_project`."""
