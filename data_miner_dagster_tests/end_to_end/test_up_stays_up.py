"""Tests of `data-miner up` when its servers are killed, when it is killed itself, and when another one is running."""

import json
import os
import re
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_miner_dagster.cli.ports import listener
from data_miner_dagster_tests.end_to_end.commands import data_miner, project, write_yaml
from data_miner_dagster_tests.end_to_end.platform_process import RunningPlatform, free_port, wait_for

pytestmark = [pytest.mark.slow(45), pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    base = tmp_path_factory.mktemp("up")
    config = write_yaml(base / "platform.yaml", {"platform": project("x", [])["platform"]})
    running = RunningPlatform(base / "root", config)
    yield running
    if running.process.poll() is None:
        running.stop()


def processes(platform: RunningPlatform) -> dict[int, str]:
    """Return the command lines, by pid, of the running processes whose DAGSTER_HOME belongs to the root."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if f"DAGSTER_HOME={platform.root}/dagster_home".encode() in variables and command:
            found[int(process.name)] = command
    return found


def pid_of(platform: RunningPlatform, part: str) -> int | None:
    return next((pid for pid, command in processes(platform).items() if part in command), None)


def test_up__a_second_one_says_who_is_there(platform: RunningPlatform) -> None:
    second = data_miner("up", "--root", platform.root, "--port", "1")
    assert second.returncode == 2
    assert f"process {platform.process.pid} on " in second.stdout
    assert "or use another --root" in second.stdout
    port = platform.address.rpartition(":")[2]
    elsewhere = data_miner("up", "--root", platform.root.parent / "other", "--profile", "lite", "--port", port)
    assert elsewhere.returncode == 2
    line = f"port {port} of 127.0.0.1 is in use by process {platform.process.pid} "
    assert line in elsewhere.stdout
    assert "or use another --port" in elsewhere.stdout
    ports = ("--port", str(free_port()), "--review-port", str(platform.review_port))
    taken = data_miner("up", "--root", platform.root.parent / "other", "--profile", "lite", *ports)
    assert taken.returncode == 2
    assert f"port {platform.review_port} of 127.0.0.1 is in use by process {platform.process.pid} " in taken.stdout
    assert "or use another --review-port" in taken.stdout


def test_up__serves_the_review_pages_and_prints_a_link(platform: RunningPlatform) -> None:
    address = f"http://127.0.0.1:{platform.review_port}"
    wait_for("the review pages", lambda: True if listener(platform.review_port) else None, timeout=300)
    (secret,) = re.findall(rf"^review +{address}/login#(\S+)%20/ ", platform.log.read_text(), re.MULTILINE)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/", timeout=120)
    assert refused.value.code == 401
    refused.value.close()
    body = json.dumps({"secret": secret}).encode()
    request = urllib.request.Request(f"{address}/api/login", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.headers["Set-Cookie"].startswith(f"data_miner_review_{platform.review_port}=")


def test_up__starts_again_what_is_killed(platform: RunningPlatform) -> None:
    servers = {
        part: pid_of(platform, part)
        for part in ("dagster_webserver", "dagster._daemon run", "data_miner_dagster.web.review")
    }
    for pid in servers.values():
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    for part, before in servers.items():

        def another(part: str = part, before: int | None = before) -> bool | None:
            pid = pid_of(platform, part)
            return True if pid is not None and pid != before else None

        wait_for(part, another, timeout=180, every=0.2)
    platform.wait_until_loaded()
    log = platform.log.read_text()
    assert re.search(r"the web server was killed by SIGKILL after \d+ s; it will be restarted in 1 s", log)
    assert re.search(r"the review server was killed by SIGKILL after \d+ s; it will be restarted in 1 s", log)
    assert re.search(r"the daemon was killed by SIGKILL after \d+ s; it will be restarted in 1 s", log)


def test_up__killed_leaves_nothing_behind_and_another_may_begin(platform: RunningPlatform) -> None:
    assert len(processes(platform)) >= 4  # both servers, each with a code server
    platform.process.kill()
    platform.process.wait()
    wait_for("the end of all", lambda: None if processes(platform) else True, timeout=120, every=0.1)
    holder = json.loads((platform.root / "up.lock").read_text())
    assert holder["pid"] == platform.process.pid  # the file still names the dead process, but only the lock counts
    taken = data_miner("up", "--root", platform.root, "--host", "192.0.2.1")
    assert "192.0.2.1 is not an address of this machine" in taken.stdout  # so the lock was free
