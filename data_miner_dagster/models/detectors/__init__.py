"""Detectors from the model hub and from the user's own files."""
