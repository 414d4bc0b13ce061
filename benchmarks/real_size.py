"""Run a project of real size with a user's commands, and count every clip's outcome, frame, decision and split.

    python -m benchmarks.real_size [--quick] [--json]

A thousand clips of all kinds, a tenth of them deliberately bad, are processed by `data-miner run`, and two hundred of
them by `data-miner up`, whose release must equal that of `run` byte for byte. Errors are counted, and all counts must
be 0; details are printed to standard error. `--quick` processes two hundred clips, and forty of them with `up`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.end_to_end.commands import data_miner, digests
from data_miner_dagster_tests.end_to_end.platform_process import RunningPlatform, wait_for
from data_miner_dagster_tests.real_size import checking
from data_miner_dagster_tests.real_size.collection import PART_SIZE, Clip, make_collection
from data_miner_dagster_tests.real_size.project import RULES, absolute, project_content, serving, write_project
from data_miner_dagster_tests.sites.hostile_server import HostileServer

ALL: Final = "all-of-them"
SOME: Final = "some-of-them"
_ONE_IN: Final = 5
_LINES: Final = 10
_HOURS: Final = 3600.0

Figures = dict[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Bench:
    """The clips, the server for those that are fetched, and the folders of the benchmark."""

    folder: Path
    clips: Sequence[Clip]
    server: HostileServer

    @property
    def some(self) -> list[Clip]:
        """A fifth of the clips, consisting of whole folders."""
        return [clip for clip in self.clips if clip.number // PART_SIZE % _ONE_IN == 0]

    def content(self, name: str, clips: Sequence[Clip]) -> dict[str, object]:
        """Return the content of a project file for some clips."""
        return absolute(project_content(name, clips, self.folder / "clips", self.server), self.folder / "clips")


def run(bench: Bench, name: str, clips: Sequence[Clip]) -> float:
    """Take a project to its release with `data-miner run`, and return the seconds.

    Raises:
        SystemExit: the command failed.
    """
    config = write_project(bench.folder / f"{name}.yaml", bench.content(name, clips))
    started = time.perf_counter()
    done = data_miner("run", "--config", config, "--root", bench.folder / "run", timeout=4 * _HOURS)
    if done.returncode != 0 or "Traceback" in done.stdout:
        raise SystemExit(f"data-miner run ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return time.perf_counter() - started


def up(bench: Bench, name: str, clips: Sequence[Clip]) -> float:
    """Take a project to its release with `data-miner up` and the watched folder; return the seconds from its start."""
    content = bench.content(name, clips)
    config = write_project(bench.folder / "platform.yaml", {"platform": content.pop("platform")})
    (bench.folder / "up").mkdir()
    started = time.perf_counter()
    platform = RunningPlatform(bench.folder / "up" / "root", config)
    try:
        write_project(platform.project_files / f"{name}.yaml", content)
        release = platform.root / "releases" / name / "v001" / "release.json"
        wait_for("the release", lambda: True if release.is_file() else None, timeout=4 * _HOURS)
        return time.perf_counter() - started
    finally:
        platform.stop()


def _count(lines: Iterable[str]) -> int:
    found = list(lines)
    for line in found[:_LINES]:
        print(line, file=sys.stderr)
    return len(found)


def wrong(bench: Bench, name: str, clips: Sequence[Clip]) -> Figures:
    """Return exact counts for a project that `run` has processed: its results, and how many of them are wrong."""
    root = bench.folder / "run"
    shown = json.loads(data_miner("videos", "--project", name, "--json", "--root", root).stdout)
    rows = checking.rows_of_clips(clips, bench.server, shown)
    platform = Platform(PlatformConfig.model_validate({"models": {"profile": "lite"}}), root)
    project = checking.StoredProject(platform, name)
    facts = project.facts()
    taken = [clip for clip in clips if clip.is_good and rows.get(clip.number, {}).get("status") == "EXTRACTED"]
    frames = [line for clip in taken for line in checking.check_frames(platform, clip, rows[clip.number]["key"])]
    vectors = project.vectors(platform.models.dedup_encoder.name)
    release = platform.layout.release_folder(name, "v001")
    reasons = Counter(str(row["error_kind"]) for row in shown if row["error_kind"])
    return {
        "clips": len(clips),
        "good_clips": sum(clip.is_good for clip in clips),
        "extracted": len(taken),
        "refused": sum(reasons.values()),
        **{f"refused_{reason}": number for reason, number in sorted(reasons.items())},
        "frames": len(facts),
        "released_images": len(list((release / "images").rglob("*.jpg"))),
        "wrong_outcomes": _count(checking.check_outcomes(clips, rows)),
        "wrong_frames": _count(frames),
        "wrong_similarities": _count(checking.check_similarities(project)),
        "wrong_decisions": _count(checking.check_filtering(project, facts, RULES)),
        "wrong_groups": _count(checking.check_deduplication(project, facts, RULES, vectors)),
        "wrong_images_or_splits": _count(checking.check_release(project, release)),
    }


def measure(*, num_clips: int) -> Figures:
    """Create the clips, take them to releases in both ways, and return the figures."""
    fetch_profile("lite")
    samples = [path for _, path in sorted(fetch_samples().items())]
    with tempfile.TemporaryDirectory(prefix="real_size_") as temporary:
        folder = Path(temporary)
        started = time.perf_counter()
        clips = make_collection(folder / "clips", num_clips, samples)
        made = time.perf_counter() - started
        with serving(clips) as server:
            bench = Bench(folder, clips, server)
            seconds = {
                "making_seconds": made,
                "run_seconds": run(bench, ALL, clips),
                "up_seconds": up(bench, SOME, bench.some),
            }
            run(bench, SOME, bench.some)
            releases = [root / "releases" / SOME / "v001" for root in (folder / "run", folder / "up" / "root")]
            same = [digests(release) for release in releases]
            return {
                **{name: round(value, 1) for name, value in seconds.items()},
                **wrong(bench, ALL, clips),
                "clips_by_up": len(bench.some),
                "files_that_differ_between_up_and_run": len(dict(same[0].items() ^ same[1].items())),
            }


def main() -> int:
    """Print the figures; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 clips by run and 40 by up")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    figures = measure(num_clips=200 if options.quick else 1000)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:<40} {value}")
    counts = [value for name, value in figures.items() if name.startswith(("wrong_", "files_that_differ"))]
    return int(any(counts))


if __name__ == "__main__":
    sys.exit(main())
