import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from data_miner_dagster.catalog.claims import live_claims
from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.renewal import renewer_of
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.models.devices import devices_here
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.devices import device_of_process, take_device

WORKER = [sys.executable, "-m", "data_miner_dagster_tests.operations.device_worker"]

Start = Callable[[], tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(catalog_url: str) -> Iterator[Start]:
    with ExitStack() as stack:

        def process() -> tuple[subprocess.Popen[str], str]:
            worker = subprocess.Popen([*WORKER, catalog_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(worker)
            stack.callback(worker.kill)
            assert worker.stdout is not None
            return worker, worker.stdout.readline().strip()

        yield process


def test_take_device__two_processes_at_once_have_different_ones_and_a_killed_one_leaves_its_own(
    database: Database, start: Start
) -> None:
    first, device_of_first = start()
    _, device_of_second = start()
    assert (device_of_first, device_of_second) == ("cuda:0", "cuda:1")
    third = take_device(database, ["cuda:0", "cuda:1"])  # each device has one process already
    first.kill()
    first.wait()
    fourth = take_device(database, ["cuda:0", "cuda:1"])  # the first process on cuda:0 is gone
    fifth = take_device(database, ["cuda:0", "cuda:1"])
    assert [device for device, _ in (third, fourth, fifth)] == ["cuda:0", "cuda:0", "cuda:1"]
    assert len(live_claims(database)) == 4
    for _, claim in (third, fourth, fifth):
        assert claim is not None
        renewer_of(database).remove(claim)


def test_device_of_process__is_the_same_each_time(database: Database) -> None:
    assert [device_of_process(database, ["cpu"]) for _ in range(2)] == ["cpu", "cpu"]
    assert live_claims(database) == []  # a single device leaves no choice


def test_devices_here__leaves_out_what_this_machine_does_not_have() -> None:
    assert devices_here(["cuda:99", "cpu"]) == ["cpu"]
    with pytest.raises(ConfigError, match=r"devices is \[cuda:98, cuda:99\], but this machine has none of these"):
        devices_here(["cuda:98", "cuda:99"])


def test_model_provider__asks_for_a_device_when_a_model_is_loaded() -> None:
    asked: list[str] = []

    def take() -> str:
        asked.append("cpu")
        return "cpu"

    models = ModelProvider(ModelsConfig(profile="lite", devices=("cpu",)), take)
    role = models.detector
    assert (role.name, asked) == ("lite-yolov3-tiny", [])
    role.load()
    assert asked == ["cpu"]
    ModelProvider(ModelsConfig(profile="lite"), take).detector.load()
    assert asked == ["cpu"]
