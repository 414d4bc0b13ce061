"""Process many videos, one of which kills the process that embeds it: `python -m benchmarks.poison [--videos 100]`.

A crash of a native library looks like this: SIGKILL halfway through the stage, every time. The program prints how many
of the other videos are released, the number of runs of the stage, and the video's row in the catalog.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.end_to_end.commands import CHECKOUT
from data_miner_dagster_tests.end_to_end.platform_process import wait_for
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.life import discard
from data_miner_dagster_tests.kills.platform import KilledPlatform, settled_counts
from data_miner_dagster_tests.kills.server import CountingServer

_SITECUSTOMIZE: Final = """
import importlib.abc
import importlib.util
import os
import signal
import sys

MODULE = "data_miner_dagster.operations.embedding.embed_frames"


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            plan = module._plan_whole_video

            def deadly(platform, encoder, video_key, *, force):
                if module.find_video(platform.database, video_key).url.endswith(os.environ["POISON"]):
                    os.kill(os.getpid(), signal.SIGKILL)
                return plan(platform, encoder, video_key, force=force)

            module._plan_whole_video = deadly

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""
_LONGEST_SECONDS: Final = 3000.0


def main() -> None:
    """Take the project as far as it can get, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=100)
    options = parser.parse_args()
    fetch_profile("lite", progress=lambda _: None)
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    folder = Path(tempfile.mkdtemp(prefix="poison_"))
    names = write_clips(folder / "clips", samples, options.videos)
    server = CountingServer(folder / "clips", seconds_a_file=0.02)
    (folder / "deadly").mkdir()
    (folder / "deadly" / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    poison = names[options.videos // 3]
    extra = {"PYTHONPATH": f"{folder / 'deadly'}:{CHECKOUT}", "POISON": poison}
    platform = KilledPlatform(folder, server, names, extra_environment=extra)
    platform.prepare()
    started = time.monotonic()
    platform.start()

    def is_released() -> bool | None:
        if platform.rows("SELECT stage FROM projects") != [("COMPLETE",)]:
            return None
        return True if len({path.stem for path in platform.root.glob("embeddings/*/*.npz")}) >= len(names) - 1 else None

    try:
        wait_for("the web server", platform.answers, timeout=180, every=0.5)  # by then, the catalog exists
        wait_for("the release of the others", is_released, timeout=_LONGEST_SECONDS, every=1)
        time.sleep(30)
        keys = dict(platform.rows("SELECT url, key FROM videos"))
        print(
            json.dumps(
                {
                    "videos": len(names),
                    "poison": keys[f"{server.address}/{poison}"],
                    "seconds": round(time.monotonic() - started - 30, 1),
                    "embedded": len({path.stem for path in platform.root.glob("embeddings/*/*.npz")}),
                    "runs_of_the_stage": Counter(
                        run["status"] for run in platform.runs() if run["jobName"] == "embed_frames"
                    ),
                    "attempts": platform.rows("SELECT item, kind, message, due_at FROM attempts"),
                    "left": {what: count for what, count in settled_counts(platform).items() if count},
                },
                default=str,
                indent=1,
            )
        )
    finally:
        platform.stop()
        server.close()
        discard(folder)


if __name__ == "__main__":
    main()
