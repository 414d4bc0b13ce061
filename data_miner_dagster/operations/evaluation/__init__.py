"""Compare boxes with ground truth (`evaluate`), and find thresholds from verdicts (`calibrate --boxes`)."""
