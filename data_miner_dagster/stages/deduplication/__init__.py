"""Decide which frames represent others, and check the guarantees of the result."""
