"""Sourcing: from a project's sources to its members in the catalog. The entry is `list_sources`."""
