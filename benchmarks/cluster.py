"""A project on a Ray cluster of this machine whose nodes are killed: `make bench-cluster`.

A head and two nodes, each a few processes with what it is given; the root is shared, and PostgreSQL holds the catalog
and Dagster's storage. A node is killed in the middle of each stage that is named, and another one is started in its
place. The result is compared with that of `data-miner run`, byte for byte.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.clusters.ray_life import MOMENTS, RayLife, live_on_ray
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.life import discard
from data_miner_dagster_tests.kills.platform import reference_result
from data_miner_dagster_tests.kills.server import CountingServer

QUICK_VIDEOS = 12


def main() -> int:
    """Live once, print a table or JSON; return whether it was not a good life."""
    parser = argparse.ArgumentParser(description="Kill nodes of a Ray cluster at work.")
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--kills", nargs="*", choices=MOMENTS, default=list(MOMENTS), help="in which runs")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_VIDEOS} videos")
    parser.add_argument(
        "--limit-seconds", type=float, default=1800, help="for each kill, and for the release after them"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--keep", action="store_true", help="keep the files of a life that was not good")
    options = parser.parse_args()
    num_videos = QUICK_VIDEOS if options.quick else options.videos
    fetch_profile("lite", progress=lambda _: None)
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    folder = Path(tempfile.mkdtemp(prefix="cluster_"))
    names = write_clips(folder / "clips", samples, num_videos)
    server = CountingServer(folder / "clips", seconds_a_file=0.05)
    try:
        life = live_on_ray(
            folder / "life",
            server,
            names,
            expected=reference_result(folder, server, names),
            kills=options.kills,
            limit_seconds=options.limit_seconds,
        )
    finally:
        server.close()
    print(json.dumps(_figures(life, num_videos), indent=2) if options.json else _table(life, num_videos))
    if not (life.faults and options.keep):
        discard(folder)
    return bool(life.faults)


def _figures(life: RayLife, num_videos: int) -> dict[str, object]:
    return {
        "videos": num_videos,
        "kills": [asdict(kill) for kill in life.kills],
        "seconds_until_noticed_most": max((kill.seconds_until_noticed for kill in life.kills), default=0),
        "seconds": life.seconds,
        "seconds_to_start": life.seconds_to_start,
        "runs": life.runs,
        "faults": list(life.faults),
    }


def _table(life: RayLife, num_videos: int) -> str:
    lines = [f"{num_videos} videos, {life.seconds:.0f} s after {life.seconds_to_start:.0f} s for the cluster to start"]
    lines += [f"{'killed in':<18}{'node':<10}{'runs':>5}{'noticed after':>16}"]
    lines += [
        f"{kill.job:<18}{kill.node:<10}{len(kill.run_ids):>5}{kill.seconds_until_noticed:>14.1f} s"
        for kill in life.kills
    ]
    lines += [f"{what}: {count}" for what, count in life.runs.items()]
    return "\n".join([*lines, *life.faults] if life.faults else [*lines, "the same bytes as on one machine"])


if __name__ == "__main__":
    sys.exit(main())
