"""Turn videos into folders of frames, each with a manifest. The entry point is `extract_frames`."""
