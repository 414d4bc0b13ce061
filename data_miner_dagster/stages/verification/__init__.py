"""Verification: which boxes are asked about, what is shown and asked, and what an answer says. Pure."""
