"""Evaluate the quality of boxes against a ground truth or by people's verdicts. Pure functions over arrays."""
