"""`data-miner up`: Dagster's web server and daemon over one root, until Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Final

import typer

from data_miner_dagster.cli.options import platform_options
from data_miner_dagster.cli.progress import console
from data_miner_dagster.cli.upgrading import lines_before_work
from data_miner_dagster.config.environment import WEB_HOSTS_VARIABLE, set_variable
from data_miner_dagster.domain.errors import DataMinerError

_STOP_SECONDS: Final = 20.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def up(
    root: Annotated[Path | None, typer.Option("--root", help="Where everything is kept.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A file with a `platform` section.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="lite or standard.")] = None,
    port: Annotated[int, typer.Option("--port", help="Of the web server.")] = 3000,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option("--allowed-host", help="A name by which a reverse proxy reaches it; may be repeated."),
    ] = None,
) -> None:
    """Start the web server and the daemon: materialize and backfill in the browser, sensors do the rest."""
    from data_miner_dagster.config.loading import resolve_project_files
    from data_miner_dagster.deployment import deployment_file, open_instance
    from data_miner_dagster.operations.preflight import check_root_is_writable

    options = platform_options(root, config, profile)
    platform = options.open()
    check_root_is_writable(platform.root)
    replace(options, root=platform.root).pass_on()  # the servers start in another folder
    if allowed_hosts:
        named = os.environ.get(WEB_HOSTS_VARIABLE, "")
        set_variable(WEB_HOSTS_VARIABLE, ",".join(filter(None, (named, *allowed_hosts))))
    # before the two servers, which would both try to create the databases
    with open_instance(platform) as instance:
        home = Path(instance.root_directory)
    project_files = resolve_project_files(platform.config, platform.layout.project_files)
    project_files.mkdir(parents=True, exist_ok=True)
    workspace = str(deployment_file("workspace.yaml"))
    commands = {
        "web server": ["data_miner_dagster.web.dagster_webserver", "-w", workspace, "-h", host, "-p", str(port)],
        "daemon": ["dagster._daemon", "run", "-w", workspace],
    }
    console.print(f"root           {platform.root}")
    console.print(f"DAGSTER_HOME   {home}")
    console.print(f"project files  {project_files} (drop a YAML file here)")
    console.print(f"web            http://{host}:{port} (Ctrl-C stops)")
    for line in lines_before_work(platform):
        console.print(line)
    if host not in _LOOPBACK:
        console.print(
            f"warning: whoever reaches port {port} of this machine can start and delete runs, without a password: see "
            "'Who may reach the UI' in docs/deployment.md",
            style="yellow",
        )
    raise typer.Exit(_supervise(commands, home))


def _supervise(commands: dict[str, list[str]], working_folder: Path) -> int:
    """Run the modules until one ends or a signal comes; stop them all; return the exit status."""
    # Children get their own process groups: a Ctrl-C reaches them once, through us, and in order.
    children = {
        name: subprocess.Popen(  # noqa: S603 - a list of our own making, no shell
            [sys.executable, "-m", *command], cwd=working_folder, start_new_session=True
        )
        for name, command in commands.items()
    }
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    failed: str | None = None
    while not stopping and failed is None:
        time.sleep(0.3)
        failed = next((name for name, child in children.items() if child.poll() is not None), None)
    for child in children.values():
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + _STOP_SECONDS
    for child in children.values():
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if failed is not None and not stopping:
        raise DataMinerError(f"the {failed} ended with status {children[failed].returncode}; its log is above")
    return 0
