"""Indexes of vectors and hashes (FAISS) that implement `protocols/indexes.py`."""
