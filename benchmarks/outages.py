"""Measure the recovery from long outages and replaced containers, with real processes.

    python -m benchmarks.outages [--minutes 10] [--videos 60] [--kinds readonly disk postgres models]
    python -m benchmarks.outages --containers 10 [--videos 60]

An outage begins in the middle of a project under `data-miner up`, and lasts for `--minutes`. For each outage, the
program prints the seconds from its end to the release, the failures that were charged to videos, and every fault: files
that differ from the undisturbed ones, repeated downloads, and slots or claims left behind.

With `--containers`, the code server runs in pid and host name namespaces of its own, as in a container; it is
killed at this number of moments, each in a project of its own, and replaced under another host name. This needs root
and PostgreSQL.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from data_miner_dagster.models.packages import fetch_profile, fetch_samples
from data_miner_dagster_tests.end_to_end.commands import CHECKOUT
from data_miner_dagster_tests.end_to_end.platform_process import free_port, wait_for
from data_miner_dagster_tests.kills.clips import write_clips
from data_miner_dagster_tests.kills.life import discard, faults_at_the_end
from data_miner_dagster_tests.kills.platform import KilledPlatform, reference_result, runs_by_status
from data_miner_dagster_tests.kills.postgres import OwnPostgres
from data_miner_dagster_tests.kills.server import CountingServer
from data_miner_dagster_tests.kills.strikes import KINDS, small_file_system

_OUTAGES: Final = ("readonly", "disk", "postgres", "models")
_ROOT_MEGABYTES: Final = 64
_LONGEST_SECONDS: Final = 1200.0


class _Lasting(random.Random):
    """A replacement for the random generator of the kill tests that makes every outage equally long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(0)
        self._seconds = seconds

    def uniform(self, _low: float, _high: float) -> float:
        """Return the length of the outage."""
        return self._seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a project after an outage, or after its container was replaced."""

    kind: str
    seconds: float  # from the end of the outage, or from the kill, to the release
    charged: list[str]  # the failures that were charged to videos, with their counts
    runs: dict[str, int]
    faults: list[str]


@contextmanager
def _own_models(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment variables that give processes a model cache of their own."""
    from data_miner_dagster.models.cache import model_cache_folder

    copy = folder / "models"
    shutil.copytree(model_cache_folder(), copy, copy_function=os.link)
    yield {"DATA_MINER_MODEL_CACHE": str(copy)}


def suffer(
    folder: Path, server: CountingServer, names: list[str], kind: str, minutes: float, expected: dict[str, str]
) -> Outcome:
    """Take a project through one outage, which begins when a third of the downloads and extractions are done."""
    folder.mkdir(parents=True)
    del server.gets[:]
    with ExitStack() as stack:
        if kind == "disk":
            stack.enter_context(small_file_system(folder / "root", _ROOT_MEGABYTES))
        extra = stack.enter_context(_own_models(folder)) if kind == "models" else {}
        postgres = OwnPostgres() if kind == "postgres" else None
        if postgres is not None:
            stack.callback(postgres.close)
        platform = KilledPlatform(folder, server, names, postgres, extra)
        platform.prepare()
        stack.callback(platform.stop)
        platform.start()
        wait_for("a third", lambda: platform.num_done() >= len(names) * 2 // 3 or None, timeout=300, every=0.2)
        if kind == "models":
            away = Path(extra["DATA_MINER_MODEL_CACHE"])
            away.rename(away.with_name("away"))
            time.sleep(minutes * 60)
            away.with_name("away").rename(away)
        else:
            KINDS[kind].strike(platform, _Lasting(minutes * 60))
        ended = time.monotonic()
        return _outcome(platform, kind, ended, [kind], expected)


def _outcome(
    platform: KilledPlatform, what: str, since: float, strikes: list[str], expected: dict[str, str]
) -> Outcome:
    faults: list[str] = []
    try:
        wait_for("the release", platform.is_complete, timeout=_LONGEST_SECONDS, every=0.5)
    except AssertionError as error:
        faults.append(str(error)[:500])
    seconds = time.monotonic() - since
    charged = [f"{kind}: {count}" for kind, count in platform.rows("SELECT kind, count(*) FROM attempts GROUP BY kind")]
    known = [name for name in strikes if name in KINDS]
    faults += faults_at_the_end(platform, known or ["disk"], expected) if not faults else []
    return Outcome(what, round(seconds, 1), charged, runs_by_status(platform), faults)


@dataclass(slots=True)
class ContainerPlatform(KilledPlatform):
    """The services of docker/ as processes; the code server has namespaces of its own."""

    code_port: int = field(default_factory=free_port)
    services: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        return {
            **KilledPlatform.environment(self),
            "DATA_MINER_ROOT": str(self.root),
            "DATA_MINER_CONFIG": str(self.folder / "platform.yaml"),
            "DATA_MINER_PROFILE": "lite",
            "DATA_MINER_CODE_HOST": "127.0.0.1",
            "DATA_MINER_CODE_PORT": str(self.code_port),
        }

    def start(self) -> None:
        """Start all services, and wait until the web server knows the jobs."""
        for arguments in (["dagster", "instance", "migrate"], ["data_miner_dagster", "init-db"]):
            done = [sys.executable, "-m", *arguments]
            subprocess.run(done, env=self.environment(), check=True, capture_output=True)
        self.start_code("code-aaaa")
        workspace = str(CHECKOUT / "docker" / "workspace.yaml")
        time.sleep(8)  # a compose file waits for the code server's health check instead
        self._start("web", ["dagster_webserver", "-h", "127.0.0.1", "-p", str(self.port), "-w", workspace])
        self._start("daemon", ["data_miner_dagster._daemon", "run", "-w", workspace])
        wait_for("the web server", self.answers, timeout=180, every=0.5)

    def start_code(self, host: str) -> None:
        """Start the code server in namespaces of its own, like a container with this host name."""
        namespaces = ["unshare", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"]
        named = ["sh", "-c", f'hostname {host}; exec "$@"', "sh"]
        module = ["-m", "data_miner_dagster.definitions"]
        served = ["dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(self.code_port), *module]
        self._start("code", served, [*namespaces, *named])

    def _start(self, name: str, module: list[str], prefix: list[str] | None = None) -> None:
        with self.log.open("a") as output:
            self.services[name] = subprocess.Popen(
                [*(prefix or []), sys.executable, "-m", *module],
                cwd=self.home,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def replace_code(self, host: str) -> None:
        """Kill the container, with all runs in it, and start another one after three seconds."""
        self.services["code"].kill()
        self.services["code"].wait()
        time.sleep(3)
        self.start_code(host)

    def stop(self) -> None:
        """End all services."""
        for process in self.services.values():
            process.kill()
        KilledPlatform.stop(self)


def replace_container(
    folder: Path, server: CountingServer, names: list[str], moment: int, expected: dict[str, str]
) -> Outcome:
    """Replace the code server's container once `moment` downloads and extractions are done."""
    folder.mkdir(parents=True)
    del server.gets[:]
    with ExitStack() as stack:
        postgres = OwnPostgres()
        stack.callback(postgres.close)
        platform = ContainerPlatform(folder, server, names, postgres)
        platform.prepare(is_waiting=True)
        stack.callback(platform.stop)
        platform.start()
        platform.drop_project()
        wait_for(f"{moment} done", lambda: platform.num_done() >= moment or None, timeout=600, every=0.1)
        time.sleep(random.Random(moment).uniform(0, 2))
        active = sorted(run["jobName"] for run in platform.runs() if run["status"] in ("STARTING", "STARTED"))
        killed = time.monotonic()
        platform.replace_code("code-bbbb")
        what = f"container at {moment} of {2 * len(names)}, during {', '.join(active) or 'no run'}"
        return _outcome(platform, what, killed, ["code"], expected)


def main() -> None:
    """Run the outages or the replacements, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--kinds", nargs="*", choices=_OUTAGES, default=list(_OUTAGES))
    parser.add_argument(
        "--containers", type=int, default=0, help="replace this many containers, instead of running outages"
    )
    options = parser.parse_args()
    fetch_profile("lite", progress=lambda _: None)
    samples = next(iter(fetch_samples(progress=lambda _: None).values())).parent
    folder = Path(tempfile.mkdtemp(prefix="outages_"))
    names = write_clips(folder / "clips", samples, options.videos)
    server = CountingServer(folder / "clips", seconds_a_file=0.05)
    expected = reference_result(folder, server, names)
    for number in range(options.containers):
        moment = 2 * len(names) * number // options.containers
        print(
            json.dumps(_as_json(replace_container(folder / f"c{number}", server, names, moment, expected))), flush=True
        )
        discard(folder / f"c{number}")
    for kind in options.kinds if not options.containers else ():
        print(json.dumps(_as_json(suffer(folder / kind, server, names, kind, options.minutes, expected))), flush=True)
        discard(folder / kind)
    server.close()
    discard(folder)


def _as_json(outcome: Outcome) -> dict[str, object]:
    return {name: getattr(outcome, name) for name in ("kind", "seconds", "charged", "runs", "faults")}


if __name__ == "__main__":
    main()
