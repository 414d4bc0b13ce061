"""Run the benchmarks one after another: print a table of figures for each, and write JSON under benchmarks/results.

Each runs in a process of its own, so that its memory and threads do not affect the next. Run no other program at the
same time.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

BENCHMARKS: Final = (
    "downloading",
    "prescreening",
    "same_video",
    "extraction",
    "planning",
    "hostile_media",
    "hostile_sites",
    "embedding",
    "similar",
    "selecting",
    "filtering",
    "deduplication",
    "dedup_truth",
    "same_place",
    "detection",
    "tracking",
    "crossing",
    "lite_quality",
    "unsure",
    "reviewing",
    "real_size",
    "round_trips",
    "orchestration",
)
RESULTS: Final = Path(__file__).parent / "results"


def run(name: str, *, is_quick: bool) -> dict[str, object]:
    """Run one benchmark and return its figures by key.

    Raises:
        subprocess.CalledProcessError: the benchmark failed.
    """
    quick = ["--quick"] if is_quick and "--quick" in _help_of(name) else []
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *quick]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(output[output.index("{") :]))


def _help_of(name: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> int:
    """Run the selected benchmarks, print tables and write JSON. Return the number of benchmarks that failed."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a benchmark: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="use small sizes in benchmarks that have them")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"{unknown[0]!r} is not a benchmark; use one of {', '.join(BENCHMARKS)}")
    RESULTS.mkdir(exist_ok=True)
    num_failed = 0
    for name in options.names or BENCHMARKS:
        print(f"== {name}", flush=True)
        try:
            figures = run(name, is_quick=options.quick)
        except subprocess.CalledProcessError as error:
            print(f"   failed with status {error.returncode}")
            num_failed += 1
            continue
        (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        for key, value in figures.items():
            if not isinstance(value, dict | list):
                print(f"   {key:<40} {value}")
    print(f"written to {RESULTS}")
    return num_failed


if __name__ == "__main__":
    sys.exit(main())
