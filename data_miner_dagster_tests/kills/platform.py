"""A `data-miner up` for one root that tests can kill, with its processes, its outages and its expected final state."""

import json
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import text

from data_miner_dagster.catalog.database import Database, sqlite_url
from data_miner_dagster_tests.end_to_end.commands import CHECKOUT, command, digests, environment, project, write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import free_port, wait_for
from data_miner_dagster_tests.kills.postgres import OwnPostgres
from data_miner_dagster_tests.kills.processes import Process, processes_of
from data_miner_dagster_tests.kills.server import REFERENCE_AGENT, CountingServer

NAME: Final = "tiny"
ENDED: Final = ("SUCCESS", "FAILURE", "CANCELED")


def project_of(server: CountingServer, names: list[str], changes: Mapping[str, object]) -> dict[str, object]:
    """Return the content of a project file for a server's clips. `changes` replaces sections of it."""
    return project(NAME, [{"type": "urls", "urls": [f"{server.address}/{name}" for name in names]}], **changes)


@dataclass(slots=True)
class KilledPlatform:
    """A platform that can be restarted any number of times. It uses PostgreSQL if `postgres` is given, else SQLite."""

    folder: Path
    server: CountingServer
    names: list[str]
    postgres: OwnPostgres | None = None
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, object] = field(default_factory=dict)  # sections of the project file, by name
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    finished_at: dict[str, float] = field(default_factory=dict)  # by video key: when the manifest was first seen

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def home(self) -> Path:
        """DAGSTER_HOME. It is outside the root, so an outage of the root does not affect Dagster."""
        return self.folder / "dagster_home"

    @property
    def log(self) -> Path:
        """The file with the output of `up`."""
        return self.folder / "up.log"

    def prepare(self, *, is_waiting: bool = False) -> None:
        """Write the settings, and also the project file unless `is_waiting`, which leaves it to `drop_project`."""
        self.home.mkdir(parents=True)
        content = project_of(self.server, self.names, self.changes)
        settings: dict[str, Any] = dict(content.pop("platform"))  # type: ignore[call-overload]
        settings["downloading"]["min_free_bytes"] = 1_000_000
        write_yaml(self.folder / "platform.yaml", {"platform": settings})
        if self.postgres is not None:
            shutil.copyfile(CHECKOUT / "docker" / "dagster.yaml", self.home / "dagster.yaml")
        if not is_waiting:
            self.drop_project()
        threading.Thread(target=self._watch_manifests, daemon=True).start()

    def drop_project(self) -> None:
        """Write the project file into the watched folder."""
        content = project_of(self.server, self.names, self.changes)
        del content["platform"]
        write_yaml(self.root / "project_files" / f"{NAME}.yaml", content)

    def _watch_manifests(self) -> None:
        while self.folder.exists():
            for manifest in self.root.glob("videos/*/info.json"):
                self.finished_at.setdefault(manifest.parent.name, time.time())
            time.sleep(0.2)

    def environment(self) -> dict[str, str]:
        """Return the environment of the platform's processes."""
        urls = {}
        if self.postgres is not None:
            logs = self.folder / "compute_logs"
            logs.mkdir(parents=True, exist_ok=True)
            urls = {
                "DATA_MINER_CATALOG_URL": self.postgres.catalog_url,
                "DATA_MINER_DAGSTER_URL": self.postgres.dagster_url,
                "DATA_MINER_COMPUTE_LOGS": str(logs),
            }
        return environment(DAGSTER_HOME=str(self.home), **urls, **self.extra_environment)

    def start(self) -> None:
        """Start `up` as a supervisor would, without waiting for its web server."""
        ports = ("--port", str(self.port), "--review-port", str(free_port()))
        arguments = command("up", "--root", self.root, "--config", self.folder / "platform.yaml", *ports)
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                arguments,
                env=self.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
            )

    def start_again(self) -> None:
        """Start `up` repeatedly until it stays up, since something that it needs may not be back yet."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            self.start()
            assert self.process is not None
            with_end = time.monotonic() + 8
            while time.monotonic() < with_end and self.process.poll() is None:
                time.sleep(0.2)
            if self.process.poll() is None:
                return
        raise AssertionError(f"`up` does not stay:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """Stop `up` and kill all remaining processes."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in self.processes():
            process.kill()

    def processes(self, *kinds: str) -> list[Process]:
        """Return the platform's live processes of the given kinds, or of all kinds."""
        return [process for process in processes_of(self.home) if not kinds or process.kind in kinds]

    def kill_all(self) -> None:
        """Kill all processes at once, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for process in self.processes():
            process.kill()
        wait_for("all processes to be gone", lambda: None if self.processes() else True, timeout=120, every=0.1)

    def num_done(self) -> int:
        """Return the number of finished downloads and extractions, which decides when strikes happen."""
        return len(list(self.root.glob("videos/*/info.json"))) + len(list(self.root.glob("frames/*/frames.parquet")))

    def graphql(self, query: str) -> dict[str, Any]:
        """Send a GraphQL query to the web server and return the data of the answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql",
            data=json.dumps({"query": query}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer["errors"]
        return dict(answer["data"])

    def answers(self) -> bool | None:
        """Return True if the web server has loaded the jobs, else None."""
        try:
            found = self.graphql("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        except OSError:
            return None
        return True if found["repositoriesOrError"].get("nodes") else None

    def runs(self) -> list[dict[str, Any]]:
        """Return the runId, jobName and status of each run."""
        found = self.graphql("{ runsOrError { ... on Runs { results { runId jobName status } } } }")
        return list(found["runsOrError"]["results"])

    def busy_slots(self) -> int:
        """Return the number of pool slots that Dagster considers taken."""
        found = self.graphql("{ instance { concurrencyLimits { concurrencyKey activeSlotCount } } }")
        return sum(limit["activeSlotCount"] for limit in found["instance"]["concurrencyLimits"])

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the catalog and return the rows."""
        file = self.root / "catalog.sqlite"
        if self.postgres is None and not file.exists():
            raise FileNotFoundError(file)
        database = Database(self.postgres.catalog_url if self.postgres else sqlite_url(file))
        try:
            with database.reading() as session:
                return [tuple(row) for row in session.execute(text(statement))]
        finally:
            database.dispose()

    def releases(self) -> list[Path]:
        """Return the published releases, oldest first."""
        folder = self.root / "releases" / NAME
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(path for path in found if (path / "release.json").exists())

    def is_complete(self) -> bool | None:
        """Return True if every video is embedded and the project is released, else None."""
        if not self.releases():
            return None
        try:
            states = dict(self.rows("SELECT status, count(*) FROM videos GROUP BY status"))
            stages = self.rows("SELECT stage FROM projects")
        except Exception:  # noqa: BLE001 - the catalog may be what is away
            return None
        if states != {"EXTRACTED": len(self.names)} or stages != [("COMPLETE",)]:
            return None
        num_embedded = len({path.stem for path in self.root.glob("embeddings/*/*.npz")})
        return True if num_embedded == len(self.names) else None

    def downloaded_again(self) -> list[str]:
        """Return the files that were requested after their video was finished."""
        addresses = dict(self.rows("SELECT key, url FROM videos"))
        finished = {
            addresses[key].removeprefix(self.server.address): when
            for key, when in self.finished_at.items()
            if key in addresses
        }
        return sorted({path for path, when in self.server.gets if when > finished.get(path, float("inf")) + 0.5})

    def result(self) -> dict[str, str]:
        """Return the digests of the platform's frames, embeddings and newest release."""
        return result_of(self.root)


def result_of(root: Path) -> dict[str, str]:
    """Return the digests of the frames, embeddings and newest release under a root."""
    newest = max(path.parent for path in (root / "releases" / NAME).glob("*/release.json"))
    release = {path.removeprefix(newest.name): digest for path, digest in digests(newest).items()}
    return {**digests(root / "frames", root / "embeddings"), **release}


def settled_counts(platform: KilledPlatform) -> dict[str, int]:
    """Return the counts that must be 0 at the end: claims, batch items, leases, pending work, slots and active runs."""
    counts = {
        name: int(platform.rows(f"SELECT count(*) FROM {name}")[0][0])
        for name in ("claims", "batch_items", "pending_work", "run_leases")
    }
    counts["slots"] = platform.busy_slots()
    counts["active_runs"] = sum(run["status"] not in ENDED for run in platform.runs())
    return counts


def runs_by_status(platform: KilledPlatform) -> dict[str, int]:
    """Return the number of runs by job and status."""
    return dict(sorted(Counter(f"{run['jobName']} {run['status']}" for run in platform.runs()).items()))


def reference_result(
    folder: Path, server: CountingServer, names: list[str], changes: Mapping[str, object] | None = None
) -> dict[str, str]:
    """Return the result of an undisturbed `data-miner run` of the same project."""
    content: dict[str, Any] = project_of(server, names, changes or {})
    content["platform"]["downloading"]["user_agent"] = REFERENCE_AGENT
    config = write_yaml(folder / "reference.yaml", content)
    root = folder / "reference"
    arguments = command("run", "--config", config, "--root", root)
    subprocess.run(arguments, env=environment(), check=True, capture_output=True, timeout=1200)
    return result_of(root)
