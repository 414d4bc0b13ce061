"""Metrics for Prometheus. The modules here read values and change nothing."""
