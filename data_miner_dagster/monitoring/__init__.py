"""What a platform tells monitoring of itself: metrics that Prometheus asks for. Reads, and changes nothing."""
