"""Decisions of filtering: which frames to keep, and which threshold a person's answers call for."""
