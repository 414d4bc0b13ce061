"""Metrics for Prometheus. Only reads; changes nothing."""
