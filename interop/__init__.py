"""Check our exports with the annotation tools' own packages, in separate environments."""
