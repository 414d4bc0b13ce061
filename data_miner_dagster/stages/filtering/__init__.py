"""Decisions of filtering: which frames are kept, and which threshold answers call for."""
