"""Run all benchmarks with malicious inputs: media files, damaged roots, sites, and YAML in the watched folder.

    python -m benchmarks.hostile [--json] [--quick] [PART ...]

Each part is a benchmark of its own, `benchmarks/hostile_<part>.py`, that counts crashes, hangs, tracebacks, silent
losses and leaked bytes, and exits with status 1 if any count is not 0. This program does the same.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

PREFIX: Final = "hostile_"
PARTS: Final = tuple(sorted(path.stem.removeprefix(PREFIX) for path in Path(__file__).parent.glob(f"{PREFIX}*.py")))


def run_part(part: str, *, is_quick: bool) -> dict[str, Any]:
    """Run one part in a process of its own. Return its figures, with the exit status as `status`."""
    command = [sys.executable, "-m", f"benchmarks.{PREFIX}{part}", "--json", *(["--quick"] if is_quick else [])]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        figures = dict(json.loads(ended.stdout[ended.stdout.index("{") :]))
    except ValueError:  # it ended before it printed any figures
        figures = {}
    return {**figures, "status": ended.returncode}


def main() -> int:
    """Run the parts, and print a table, or JSON with the figures by `part: name`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"a part: {', '.join(PARTS)}; default: all")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tenth of each")
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"{unknown[0]!r} is not a part; use one of {', '.join(PARTS)}")
    figures: dict[str, Any] = {}
    for part in options.parts or PARTS:
        of_part = run_part(part, is_quick=options.quick)
        figures |= {f"{part}: {name}": value for name, value in of_part.items()}
        if not options.json:
            print(f"== {part}")
            for name, value in of_part.items():
                print(f"   {name:<36} {value}", flush=True)
    faulty = [name.partition(":")[0] for name, value in figures.items() if name.endswith(": status") and value]
    figures["parts with faults"] = faulty
    print(json.dumps(figures, indent=2) if options.json else f"parts with faults: {', '.join(faulty) or 'none'}")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
