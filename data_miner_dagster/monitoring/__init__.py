"""Metrics for Prometheus. This package only reads, and changes nothing."""
