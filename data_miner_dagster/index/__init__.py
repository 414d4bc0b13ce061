"""Vector indexes (FAISS) behind `protocols/indexes.py`."""
