"""Run many kill tests: `python -m benchmarks.kills --seeds 25 --videos 60 --database postgresql`."""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.life import discard, kinds_here, live
from data_miner_dagster_tests.kills.platform import reference_result
from data_miner_dagster_tests.kills.server import CountingServer


def main() -> int:
    """Run the kill test once per seed, and print a line for each. Return the number of runs with a fault."""
    parser = argparse.ArgumentParser(description="Disturb a platform at random moments while it works.")
    parser.add_argument("--seeds", type=int, default=25, help="the number of runs")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--strikes", type=int, default=3, help="the number of disturbances per run")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--kinds", nargs="*", help="use only these")
    parser.add_argument(
        "--limit-seconds", type=float, default=300, help="the time limit for the release after the last disturbance"
    )
    parser.add_argument("--keep", action="store_true", help="keep the roots of runs with a fault")
    options = parser.parse_args()
    fetch_profile("lite", progress=lambda _: None)
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    folder = Path(tempfile.mkdtemp(prefix="kills_"))
    names = write_clips(folder / "clips", samples, options.videos)
    server = CountingServer(folder / "clips", seconds_a_file=0.05)
    expected = reference_result(folder, server, names)
    print(f"{len(expected)} files undisturbed; kinds: {', '.join(options.kinds or kinds_here(options.database))}")
    num_bad = 0
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        life = live(
            folder / f"life{seed}",
            server,
            names,
            database=options.database,
            seed=seed,
            num_strikes=options.strikes,
            expected=expected,
            kinds=options.kinds,
            limit_seconds=options.limit_seconds,
        )
        print(json.dumps(asdict(life)), flush=True)
        num_bad += bool(life.faults)
        if not (life.faults and options.keep):
            discard(folder / f"life{seed}")
    server.close()
    if not (num_bad and options.keep):
        discard(folder)
    print(f"{num_bad} of {options.seeds} runs had faults" + (f"; see {folder}" if num_bad and options.keep else ""))
    return num_bad


if __name__ == "__main__":
    sys.exit(main())
