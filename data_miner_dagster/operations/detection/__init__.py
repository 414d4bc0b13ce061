"""Detect objects on a project's representatives. The entry point is `detect_project`."""
