"""Compare this package with alternatives, both measured in the same run. `make bench` runs most of the benchmarks."""
