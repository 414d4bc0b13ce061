"""Run a benchmark that generates malicious inputs and counts the faults that they cause."""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any


def run_drawn(
    description: str | None, unit: str, default: int, measure: Callable[[int, int], Mapping[str, Any]]
) -> int:
    """Call `measure` with the number of inputs and the seed, and print the figures. Return 1 if it found any faults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth")
    parser.add_argument(f"--{unit}", dest="number", type=int, default=default)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    figures = measure(options.number // 10 if options.quick else options.number, options.seed)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for key, value in figures.items():
            print(f"{key:<30} {value}")
    return 1 if figures["faults"] else 0
