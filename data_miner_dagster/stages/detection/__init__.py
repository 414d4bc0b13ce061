"""Decisions about detections: merging boxes from several tiles and detectors, and following objects."""
