"""Local models that verify boxes."""
