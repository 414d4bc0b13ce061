"""Verification: which boxes to ask about, the picture and the question, and the meaning of an answer. Pure."""
