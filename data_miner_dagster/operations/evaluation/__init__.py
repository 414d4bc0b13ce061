"""Evaluation: boxes against a truth (`evaluate`), and thresholds from verdicts (`calibrate --boxes`)."""
