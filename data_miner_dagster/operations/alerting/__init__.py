"""Telling people what is wrong: what counts as that, and how they are told."""
