"""Evaluate the quality of boxes against ground truth or people's verdicts. Pure functions over arrays."""
