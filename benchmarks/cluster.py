"""Run a project on a Ray cluster on this machine, and disturb it while it works: `make bench-cluster`.

The cluster has a head and two nodes, each consisting of a few processes with declared resources. The root is shared,
and PostgreSQL stores the catalog and Dagster's data. Halfway through each of four stages, a node is killed, and another
one is started in its place. A run is cancelled as in the UI, and the head is killed. Two runs on two nodes share the
project's detection. The result is compared with that of `data-miner run`, byte for byte.
"""

import argparse
import json
import logging
import signal
import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.clusters.ray_life import Plan, RayLife, live_on_ray
from data_miner_dagster_tests.clusters.ray_strikes import STRIKES, STRUCK_JOBS
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.life import discard
from data_miner_dagster_tests.kills.platform import reference_result
from data_miner_dagster_tests.kills.server import CountingServer

QUICK_VIDEOS: Final = 12
QUICK_STRIKES: Final = ("node:extract_frames",)
ALL_STRIKES: Final = (
    "node:download_videos",
    "node:extract_frames",
    "node:embed_frames",
    "head:embed_frames",
    "cancel:detect_objects",
    "node:detect_objects",
)
SHARED: Final = {
    # nearly every frame is examined, in tiles, so that there is enough work for other runs to join in
    "filtering": {"positive": ["a bicycle", "a car on the street", "a person"], "positive_threshold": -1.0},
    "deduplication": {"threshold": 0.999, "perceptual_hash_minimum_contrast": 256, "reupload_minimum_pictures": 100},
    "detection": {
        "classes": {"bicycle": [], "person": [], "car": ["car", "taxi"]},
        "tiling": {"side": 64, "overlap": 0.1},
    },
}
"""The sections of the project file for the detection that two nodes share."""


def main() -> int:
    """Run once, and print a table or JSON. Return whether the run had a fault."""
    parser = argparse.ArgumentParser(description="Disturb a Ray cluster while it works.")
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument(
        "--strikes",
        nargs="*",
        help=f"WHAT:JOB, in this order; {', '.join(STRIKES)} in a run of {', '.join(STRUCK_JOBS)}",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_VIDEOS} videos, one strike, nothing to share")
    parser.add_argument(
        "--limit-seconds", type=float, default=1800, help="for each strike, and for the release after them"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="keep the files of a run with a fault")
    options = parser.parse_args()
    wanted = options.strikes if options.strikes is not None else QUICK_STRIKES if options.quick else ALL_STRIKES
    strikes = [(what, job) for what, _, job in (strike.partition(":") for strike in wanted)]
    if unknown := [f"{what}:{job}" for what, job in strikes if what not in STRIKES or job not in STRUCK_JOBS]:
        parser.error(f"no such strike: {', '.join(unknown)}")
    plan = Plan(strikes, limit_seconds=options.limit_seconds)
    if not options.quick:
        plan = Plan(strikes, num_sharing=2, changes=SHARED, limit_seconds=options.limit_seconds)
    num_videos = QUICK_VIDEOS if options.quick else options.videos
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # exit in an orderly way, as on Ctrl-C
    fetch_profile("lite", progress=lambda _: None)
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    folder = Path(tempfile.mkdtemp(prefix="cluster_"))
    names = write_clips(folder / "clips", samples, num_videos)
    server = CountingServer(folder / "clips", seconds_a_file=0.05)
    try:
        reference = partial(reference_result, folder, server, names, plan.changes)
        life = live_on_ray(folder / "life", server, names, plan, reference)
    finally:
        server.close()
    print(json.dumps(_figures(life, num_videos), indent=2) if options.json else _table(life, num_videos))
    if not (life.faults and options.keep):
        discard(folder)
    return bool(life.faults)


def _figures(life: RayLife, num_videos: int) -> dict[str, object]:
    return {"videos": num_videos, **asdict(life)}


def _table(life: RayLife, num_videos: int) -> str:
    lines = [f"{num_videos} videos, {life.seconds:.0f} s after {life.seconds_to_start:.0f} s for the cluster to start"]
    lines += [f"{'what':<8}{'in':<18}{'where':<16}{'runs':>5}{'over after':>14}"]
    lines += [
        f"{strike.what:<8}{strike.job:<18}{strike.where:<16}{len(strike.run_ids):>5}{strike.seconds:>12.1f} s"
        for strike in life.strikes
    ]
    lines += [f"{what}: {count}" for what, count in life.runs.items()]
    lines += [f"shards of detection by runs that joined in: {life.num_shards_by_others}"]
    return "\n".join([*lines, *life.faults] if life.faults else [*lines, "the same bytes as on one machine"])


if __name__ == "__main__":
    sys.exit(main())
