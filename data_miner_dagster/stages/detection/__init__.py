"""Decisions of detection: merging boxes from several tiles and detectors."""
