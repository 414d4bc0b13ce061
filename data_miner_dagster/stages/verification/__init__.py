"""Decide which boxes to ask a verifier about, choose the picture and text of a question, and interpret the answer."""
