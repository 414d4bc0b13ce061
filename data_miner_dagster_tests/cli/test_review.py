"""`data-miner review PROJECT` while a server of the review pages is running."""

import os
import socket
from pathlib import Path

import pytest
import yaml

from data_miner_dagster.storage.root_lock import take_root_lock
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project
from data_miner_dagster_tests.web.review.serving import served


def test_review__without_a_port_is_at_that_of_a_running_up(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    platform = build_project(tmp_path / "root")
    config = tmp_path / "platform.yaml"
    with socket.socket() as foreign, served(platform) as site:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()  # so nothing can be served at the configured port
        config.write_text(yaml.safe_dump({"platform": {"web": {"review_port": foreign.getsockname()[1]}}}))
        lock = take_root_lock(platform.layout.up_lock, review_port=site.port)  # as `data-miner up` takes it
        told = run_command("review", "cyclists", "--root", platform.root, "--config", config).stdout
        os.close(lock)
    assert told.startswith(f"{site.address}/login#"), told
    assert "the pages are already being served" in told
