"""Turn frames into stored vectors, which all projects share. The entry point is `embed_frames`."""
