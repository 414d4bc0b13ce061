"""Decisions of verification: which boxes to ask about, a question's picture and text, and the meaning of an answer."""
