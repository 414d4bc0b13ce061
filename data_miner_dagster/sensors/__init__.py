"""Sensors, which are thin shells around pure planners. A tick never uses the network."""
