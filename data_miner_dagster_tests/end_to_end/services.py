"""The services of docker/docker-compose.yaml, run as local processes with its commands, settings and health checks."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from data_miner_dagster_tests.end_to_end.commands import CHECKOUT, environment
from data_miner_dagster_tests.end_to_end.platform_process import Dagster, free_port, wait_for

DOCKER: Final = CHECKOUT / "docker"
COMPOSE: Final = yaml.safe_load((DOCKER / "docker-compose.yaml").read_text(encoding="utf-8"))
OURS: Final = ("code", "webserver", "daemon", "review", "metrics")
"""The long-running services of this package, in the order in which they start."""
_PROGRAMS: Final[Mapping[str, tuple[str, ...]]] = {
    "python": (sys.executable,),
    "dagster": (sys.executable, "-m", "dagster"),
    "dagster-daemon": (sys.executable, "-m", "dagster._daemon"),
    "data-miner": (sys.executable, "-m", "data_miner_dagster"),
}
_GRACE_SECONDS: Final = 60


def service(name: str) -> dict[str, Any]:
    """Return the definition of a service in the compose file."""
    return dict(COMPOSE["services"][name])


class Services(Dagster):
    """All services for one root and one database server.

    The ports, the folders and the database's host are local. Everything else comes from the compose file and the files
    next to it. `database` contains the values of DATA_MINER_DATABASE_*.
    """

    def __init__(self, folder: Path, database: Mapping[str, str]) -> None:
        self._ports = {number: str(free_port()) for number in ("3000", "3001", "4000", "9464")}
        super().__init__(folder / "root", int(self._ports["3000"]))
        self.home = folder / "dagster_home"
        self.home.mkdir()
        self._database = database
        for name in ("dagster.yaml", "workspace.yaml", "platform.yaml"):
            (self.home / name).write_bytes((DOCKER / name).read_bytes())
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start_all(self) -> None:
        """Migrate the database, start all services, and wait until they are healthy."""
        self._run("migrate")
        for name in OURS:
            self.start(name)
            if name == "code":  # the other services need it
                self.wait_until_healthy(name)
        for name in OURS:
            self.wait_until_healthy(name)

    def start(self, name: str) -> None:
        with self._log(name).open("a") as output:
            self.processes[name] = subprocess.Popen(
                self._entered(service(name)["command"]),
                cwd=self.home,
                env=self._environment(name),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def stop_service(self, name: str) -> None:
        """Stop a service as a container engine does: send SIGTERM, then SIGKILL to its group after the grace period."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def restart(self, name: str) -> None:
        """Restart a service and wait until it is healthy."""
        self.stop_service(name)
        self.start(name)
        self.wait_until_healthy(name)

    def health(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a service's health check once."""
        check = service(name)["healthcheck"]["test"]
        assert check[0] == "CMD"
        return subprocess.run(
            self._translated(check[1:]), env=self._environment(name), capture_output=True, text=True, check=False
        )

    def wait_until_healthy(self, name: str) -> None:
        """Wait until a service's health check succeeds."""

        def is_healthy() -> bool | None:
            self.check_alive()
            return True if self.health(name).returncode == 0 else None

        wait_for(f"{name} to be healthy", is_healthy, timeout=600, every=0.5)

    def check_alive(self) -> None:
        """Raise AssertionError with the service's log if a service has ended."""
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name}: {self._log(name).read_text()[-4000:]}"

    def stop(self) -> None:
        """Stop all services in reverse order."""
        for name in [*reversed(self.processes)]:
            self.stop_service(name)

    def logs(self) -> Iterator[str]:
        """Yield the log of each service."""
        for name in OURS:
            yield self._log(name).read_text()

    def _run(self, name: str) -> None:
        done = subprocess.run(
            self._entered(service(name)["command"]),
            cwd=self.home,
            env=self._environment(name),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _environment(self, name: str) -> dict[str, str]:
        said = {key: str(value) for key, value in service(name)["environment"].items()}
        here = {
            "DATA_MINER_CODE_HOST": "127.0.0.1",
            "DATA_MINER_CODE_PORT": self._ports[said["DATA_MINER_CODE_PORT"]],
            "DATA_MINER_COMPUTE_LOGS": said["DATA_MINER_COMPUTE_LOGS"].replace("/data", str(self.root), 1),
            "DATA_MINER_PROFILE": "lite",
            # set by the image
            "DAGSTER_HOME": str(self.home),
            "DATA_MINER_ROOT": str(self.root),
            "DATA_MINER_CONFIG": str(self.home / "platform.yaml"),
            **self._database,
        }
        on_path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        left_out = {"DATA_MINER_MODEL_CACHE", "HF_HOME", "HF_TOKEN_PATH", "DATA_MINER_WEB_HOSTS"}
        return environment(**{key: value for key, value in said.items() if key not in left_out} | here, PATH=on_path)

    def _entered(self, command: list[str]) -> list[str]:
        """Return the command with the image's entry point in front."""
        return [sys.executable, str(DOCKER / "service.py"), "run", *self._translated(command)]

    def _translated(self, command: list[str]) -> list[str]:
        return [*_PROGRAMS.get(command[0], (command[0],)), *map(self._here, command[1:])]

    def _here(self, argument: str) -> str:
        for there, here in {
            "/usr/local/bin/service.py": str(DOCKER / "service.py"),
            "/dagster/": f"{self.home}/",
            "0.0.0.0": "127.0.0.1",
            **self._ports,
        }.items():
            argument = argument.replace(there, here)
        return argument

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"
