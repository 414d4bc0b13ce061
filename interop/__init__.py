"""Checks of our exports with annotation tools' own packages, in environments of their own."""
