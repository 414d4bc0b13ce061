"""Telling people what is wrong: the conditions, and sending messages."""
