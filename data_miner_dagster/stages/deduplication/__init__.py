"""Decisions of deduplication: which frames stand for others, and whether that kept its promises."""
