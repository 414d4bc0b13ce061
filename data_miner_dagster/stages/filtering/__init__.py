"""Decide which frames to keep, and which threshold follows from a person's answers."""
