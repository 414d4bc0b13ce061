"""Verification of boxes: which to ask about, the picture, the question, and the meaning of an answer. Pure."""
