"""Free ports, and ports that are in use."""

import os
import re
import socket
from pathlib import Path

import pytest

from data_miner_dagster.cli.ports import check_port, listener
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.end_to_end.platform_process import free_port


def test_check_port__free() -> None:
    port = free_port()
    check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)  # the first check has left nothing open


def test_check_port__taken_by_a_process_that_is_named() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        line = f"port {port} of 127.0.0.1 is in use by process {os.getpid()} ("
        with pytest.raises(ConfigError, match=re.escape(line)) as refused:
            check_port("127.0.0.1", port)
    assert f"; stop it with `kill {os.getpid()}`, or use another --port" in str(refused.value)


def test_listener__of_a_process_that_closes_files_meanwhile() -> None:
    lower = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        for descriptor in lower:  # the listing of descriptors reuses one of these numbers and closes it again
            os.close(descriptor)
        found = listener(server.getsockname()[1])
    assert found is not None
    assert found[0] == os.getpid()


def test_check_port__no_address_of_this_machine() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 is not an address of this machine; use another --host"):
        check_port("192.0.2.1", free_port())
    with pytest.raises(ConfigError, match=r"use another platform\.monitoring\.metrics_host$"):
        check_port("192.0.2.1", free_port(), "platform.monitoring.metrics_port", "platform.monitoring.metrics_host")


def test_up__makes_no_root_where_its_port_is_taken(run_command: RunCommand, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use by process"):
            run_command("up", "--root", tmp_path / "typo", "--profile", "lite", "--port", port)
    assert list(tmp_path.iterdir()) == []
