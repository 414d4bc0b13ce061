"""Evaluation: boxes against a truth (`evaluate`), and what verdicts say of thresholds (`calibrate --boxes`)."""
