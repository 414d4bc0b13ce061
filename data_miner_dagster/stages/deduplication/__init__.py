"""Decisions of deduplication: which frames represent others, and whether the result keeps its guarantees."""
