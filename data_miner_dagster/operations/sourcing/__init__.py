"""Sourcing: lists a project's sources and stores its members in the catalog. The entry point is `list_sources`."""
