"""Evaluation: how good boxes are, against a truth or by people's verdicts. Pure functions over arrays."""
