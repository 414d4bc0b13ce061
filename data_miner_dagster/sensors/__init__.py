"""Sensors: pure planners in thin shells. No network in a tick."""
