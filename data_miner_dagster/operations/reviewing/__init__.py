"""Reviewing: the questions that people are asked about a project, and their answers."""
