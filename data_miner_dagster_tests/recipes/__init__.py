"""Recipes of CONTRIBUTING.md, followed in a copy: what they do not name needs no touching."""
