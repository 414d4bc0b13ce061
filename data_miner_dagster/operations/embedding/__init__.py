"""Embedding: from frames to stored vectors, shared by all projects. The entry is `embed_frames`."""
