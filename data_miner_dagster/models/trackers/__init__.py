"""Trackers, which link boxes from frame to frame."""
