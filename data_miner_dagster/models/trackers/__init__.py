"""Trackers, which link boxes from frame to frame, or find and follow objects in the frames of a video."""
