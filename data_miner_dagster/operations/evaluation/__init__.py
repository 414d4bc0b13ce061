"""Evaluation: compares boxes with a truth (`evaluate`), and finds thresholds from verdicts (`calibrate --boxes`)."""
