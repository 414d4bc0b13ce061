"""The command `up`: run Dagster's web server and daemon, and the review pages, on one root until Ctrl-C."""

import os
import secrets
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from data_miner_dagster.cli.interrupts import ending_on_interrupt
from data_miner_dagster.cli.options import PlatformOptions, ProfileOption, RootOption, platform_options
from data_miner_dagster.cli.ports import check_port
from data_miner_dagster.cli.progress import console
from data_miner_dagster.cli.review import WhoOption, reviewer
from data_miner_dagster.cli.supervision import supervise
from data_miner_dagster.cli.up_log import UpLog
from data_miner_dagster.cli.upgrading import lines_before_work
from data_miner_dagster.cli.watching import telling_changes, telling_standing
from data_miner_dagster.config.environment import (
    REVIEW_PORT_VARIABLE,
    SESSION_VARIABLE,
    VERBOSE_VARIABLE,
    WEB_HOSTS_VARIABLE,
    set_variable,
)
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.lasting_objects import creating_lasting_objects

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.storage.layout import StorageLayout

_TAKE_DOWN_SECONDS: Final = 10.0
"""How long to wait for the processes of a killed `up` to end, in seconds."""
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def up(
    root: RootOption = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A file with a `platform` section.")] = None,
    profile: ProfileOption = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port of the web server.")] = 3000,
    review_port: Annotated[
        int | None,
        typer.Option(
            "--review-port", min=1, max=65535, help="The port of the review pages. Default: platform.web.review_port."
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address that the web server listens on.")] = "127.0.0.1",
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A host name that a reverse proxy uses; may be repeated."),
    ] = None,
    who: WhoOption = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the full log of the servers, not only changes.")
    ] = False,
) -> None:
    """Start the web server, the daemon and the review pages. Sensors start all work; the browser shows and controls it.

    A line is printed whenever a project advances, a run fails or a file is refused. The full log of the servers is
    up.log under the root.
    """
    if verbose:
        set_variable(VERBOSE_VARIABLE, 1)
    with ending_on_interrupt():
        options = platform_options(root, config, profile)
        platform = options.open()
        doors = _Doors(host, port, tuple(allowed_hosts or ()), review_port, who)
        commands, home, lock = _prepared(platform, options, doors)
    # a log collector reads JSON from standard error
    is_shown = os.environ.get(VERBOSE_VARIABLE) == "1" or platform.config.logging.format == "json"
    log = UpLog(platform.layout.up_log, is_shown=is_shown)
    with telling_standing(platform), telling_changes(platform, f"http://{host}:{port}"):
        status = supervise(commands, working_folder=home, lock=lock, log=log)
    raise typer.Exit(status)


@dataclass(frozen=True, slots=True)
class _Doors:
    """The addresses at which to serve pages, and the reviewer's name.

    If `review_port` is None, the settings choose the port. If `who` is None, the reviewer has the user's name.
    """

    host: str
    port: int
    allowed_hosts: tuple[str, ...]
    review_port: int | None
    who: str | None


def _prepared(
    platform: "Platform", options: PlatformOptions, doors: _Doors
) -> tuple[dict[str, list[str]], Path, int | None]:
    """Prepare the root for the servers; return their commands by name, their working folder and the root's lock.

    The lock is None if the root could not be locked. The addresses of the pages are printed.

    Raises:
        ConfigError: the root is not writable, another process holds its lock, a port cannot be used, a model is unknown
            or not allowed, Dagster's launcher contradicts the settings, or the reviewer's name is invalid.
    """
    with creating_lasting_objects():
        from data_miner_dagster.config.loading import resolve_project_files
        from data_miner_dagster.deployment import deployment_file, open_instance
        from data_miner_dagster.launching.agreement import check_launcher
        from data_miner_dagster.operations.preflight import check_root_is_writable
        from data_miner_dagster.runs import end_unstarted_runs

    is_new = not platform.root.exists()
    if is_new:  # do not create a root if the servers cannot start
        _check_ports(doors.host, doors.port, doors.review_port or platform.config.web.review_port)
    check_root_is_writable(platform.root)
    platform.models.check_allowed()
    replace(options, root=platform.root).pass_on()  # absolute, since the servers start in another folder
    review_port = doors.review_port or platform.config.web.review_port
    _tell_children(doors.allowed_hosts, review_port)
    lock = locked_root(platform.layout, review_port=review_port)
    _check_ports(doors.host, doors.port, review_port)
    # opened before the two servers start, since both would try to create the databases
    with open_instance(platform) as instance:
        home = Path(instance.root_directory)
        check_launcher(platform.config.cluster, instance)
        if lock is not None:  # any earlier `up` has ended, and so have all processes that it started
            end_unstarted_runs(instance, platform.database)
    project_files = resolve_project_files(platform.config, platform.layout.project_files)
    project_files.mkdir(parents=True, exist_ok=True)
    workspace = str(deployment_file("workspace.yaml"))
    commands = {
        "web server": [
            "data_miner_dagster.web.dagster_webserver",
            "-w",
            workspace,
            "-h",
            doors.host,
            "-p",
            str(doors.port),
        ],
        "review server": ["data_miner_dagster.web.review", str(review_port)],
        "daemon": ["data_miner_dagster._daemon", "run", "-w", workspace],
        **_metrics_command(platform),
    }
    console.print(f"root           {platform.root}{' (new)' if is_new else ''}")
    console.print(f"DAGSTER_HOME   {home}")
    console.print(f"project files  {project_files} (put a YAML file here to run it)")
    _tell_doors(platform, doors, review_port)
    return {name: [sys.executable, "-m", *command] for name, command in commands.items()}, home, lock


def _tell_children(allowed_hosts: tuple[str, ...], review_port: int) -> None:
    if allowed_hosts:
        named = os.environ.get(WEB_HOSTS_VARIABLE, "")
        set_variable(WEB_HOSTS_VARIABLE, ",".join(filter(None, (named, *allowed_hosts))))
    set_variable(REVIEW_PORT_VARIABLE, review_port)
    set_variable(SESSION_VARIABLE, secrets.token_hex(8))


def _check_ports(host: str, port: int, review_port: int) -> None:
    from data_miner_dagster.config.web import REVIEW_HOST

    if port == review_port:
        raise ConfigError(
            f"the web server and the review pages would both use port {port}; give another --port or --review-port"
        )
    check_port(host, port)
    check_port(REVIEW_HOST, review_port, "--review-port")


def _metrics_command(platform: "Platform") -> dict[str, list[str]]:
    """Return the metrics server's command, keyed by its name, or an empty mapping if no metrics port is set.

    The port is checked, and the address of the metrics is printed.
    """
    settings = platform.config.monitoring
    if settings.metrics_port is None:
        return {}
    names = ("platform.monitoring.metrics_port", "platform.monitoring.metrics_host")
    check_port(settings.metrics_host, settings.metrics_port, *names)
    console.print(f"metrics        http://{settings.metrics_host}:{settings.metrics_port}/metrics")
    return {"metrics": ["data_miner_dagster", "metrics"]}


def _tell_doors(platform: "Platform", doors: _Doors, review_port: int) -> None:
    """Print the addresses of the pages, with a link that logs one browser in to the review pages."""
    from data_miner_dagster.web.review.serving import login_link

    console.print(f"web            http://{doors.host}:{doors.port} (press Ctrl-C to stop)")
    console.print(f"log            {platform.layout.up_log} (--verbose shows it here)")
    link = login_link(platform, review_port, reviewer(doors.who))
    console.print(f"review         {link} (one login, one browser; `data-miner review PROJECT` prints another)")
    for line in lines_before_work(platform):
        console.print(line)
    if doors.host not in _LOOPBACK:
        console.print(
            f"warning: anyone who reaches port {doors.port} of this machine can start and delete runs, without a "
            "password; see 'Who may reach the UI' in docs/deploy/one-machine.md",
            style="yellow",
        )


def locked_root(layout: "StorageLayout", *, review_port: int | None = None) -> int | None:
    """Take the lock of a root and return its file descriptor. If the lock file cannot be used, warn and return None.

    `review_port` is stored with the lock, so that `data-miner review` finds the pages. If the holder of the lock was
    killed, this function waits up to 10 s for its processes to end.

    Raises:
        ConfigError: another process holds the lock.
    """
    from data_miner_dagster.storage.root_lock import LockHeldError, take_root_lock

    deadline = time.monotonic() + _TAKE_DOWN_SECONDS
    while True:
        try:
            return take_root_lock(layout.up_lock, review_port=review_port)
        except LockHeldError as error:
            holder = error.holder
            if holder is not None and holder.is_gone() and time.monotonic() < deadline:
                time.sleep(0.2)  # the holder was killed, and its processes are still being ended
                continue
            how = "" if holder is None else f" or `kill {holder.pid}`"
            raise ConfigError(
                f"`data-miner up`, `restore` or `migrate-to` is already running on {layout.root} "
                f"({holder or 'another process'}); stop it (press Ctrl-C in its terminal{how}), or use another --root"
            ) from None
        except OSError as error:
            console.print(
                f"warning: {layout.up_lock} cannot be locked ({error.strerror}), so nothing prevents a second "
                f"`data-miner up` on {layout.root}; make sure that only one is running",
                style="yellow",
            )
            return None
