"""Metrics for Prometheus. The modules in this package read values and change nothing."""
