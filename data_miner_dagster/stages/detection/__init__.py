"""Decisions of detection: boxes of several tiles and detectors brought together."""
