"""Measure ratios side by side in one run. `make bench` runs most of the benchmarks."""
