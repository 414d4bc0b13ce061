"""Alerting: detecting conditions that need a person's attention, and sending messages about them."""
