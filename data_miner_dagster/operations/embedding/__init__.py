"""Embedding: turns frames into stored vectors, shared by all projects. The entry point is `embed_frames`."""
