"""Metrics for Prometheus. The modules in this room read values and change nothing."""
