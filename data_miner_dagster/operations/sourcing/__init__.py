"""Sourcing: list a project's sources and store its members in the catalog. The entry point is `list_sources`."""
