"""Sensors, which are thin shells around pure planners. A tick never sends requests to sites."""
