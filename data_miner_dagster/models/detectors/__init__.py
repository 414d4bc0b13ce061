"""Detectors from the model hub and from files of the user's own."""
