"""Merge boxes from several tiles and detectors, and follow objects."""
