"""Alerting: finds conditions that somebody should know about, and sends messages about them."""
