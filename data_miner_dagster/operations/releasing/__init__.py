"""Publish, export, trace and rebuild immutable, verified releases. The entry point is `release_project`."""
