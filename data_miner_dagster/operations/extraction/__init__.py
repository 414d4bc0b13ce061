"""Extraction: from a video to a folder of frames with its manifest. The entry is `extract_frames`."""
