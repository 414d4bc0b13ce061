"""GPUs whose driver does not provide every figure. NVML's functions are replaced, since tests run without such GPUs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.monitoring.collecting import Collector
from data_miner_dagster.operations.machine import GpuValues, gpu_values
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.upkeep.environment import State, inspect_environment

pynvml = pytest.importorskip("pynvml")

WHOLE, DIVIDED, LOST = range(3)


@pytest.fixture
def _three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a whole GPU, one that is divided with MIG, and one that has failed."""

    def fail(code: int) -> Any:
        raise pynvml.NVMLError(code)

    def handle(index: int) -> int:
        return fail(pynvml.NVML_ERROR_GPU_IS_LOST) if index == LOST else index

    def rates(device: int) -> SimpleNamespace:
        return fail(pynvml.NVML_ERROR_NOT_SUPPORTED) if device == DIVIDED else SimpleNamespace(gpu=25)

    def memory(device: int) -> SimpleNamespace:
        return fail(pynvml.NVML_ERROR_NO_PERMISSION) if device == DIVIDED else SimpleNamespace(used=1 << 30, total=4e9)

    for name, replacement in {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: b"550.1",
        "nvmlDeviceGetCount": lambda: 3,
        "nvmlDeviceGetHandleByIndex": handle,
        "nvmlDeviceGetUtilizationRates": rates,
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetName": lambda _device: "H200",
    }.items():
        monkeypatch.setattr(pynvml, name, replacement)


@pytest.mark.usefixtures("_three_gpus")
def test_gpu_values__leaves_out_what_the_driver_does_not_provide() -> None:
    assert gpu_values() == [
        GpuValues("0", 1 << 30, 4_000_000_000, 0.25, "H200", "550.1"),
        GpuValues("1", None, None, None, "H200", "550.1"),
    ]


@pytest.mark.usefixtures("_three_gpus")
def test_gpu_values__that_are_missing_have_no_metric_and_fail_no_command(tmp_path: Path) -> None:
    platform = Platform(PlatformConfig(), tmp_path / "root")
    values = Collector(platform).values().by_name
    assert values["collection_failed"]["gpu",] == 0
    assert values["gpu_utilization_ratio"] == {("0",): 0.25}
    assert values["gpu_memory_size_bytes"] == {("0",): 4e9}
    (part,) = (part for part in inspect_environment(platform) if part.what == "GPU")
    assert part.state in (State.OK, State.PROBLEM)  # a problem if torch has no CUDA
    assert part.value.startswith("H200 (4 GB, driver 550.1), H200 (driver 550.1); torch ")
