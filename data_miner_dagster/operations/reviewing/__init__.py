"""Reviewing: ask people questions about a project's frames and boxes, and store their answers as verdicts."""
