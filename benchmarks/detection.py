"""Measure images per second and memory of the detectors: one by one, batched, and in the operation.

    python -m benchmarks.detection                        # the lite detector on this machine's CPU, real weights
    python -m benchmarks.detection --images 16            # a small size, to check that it works
    python -m benchmarks.detection --json
    python -m benchmarks.detection --architecture sam3 --device cuda               # where there is a GPU
    python -m benchmarks.detection --architecture sam3 --images 1 --batch-size 1 --repeats 0 --threads 1 --only-detector
                                                          # where there is none: processor seconds of one image

The architectures of the hub's models are built at full size with random weights (full_size.py), so that the arithmetic
is the same and no model is downloaded. `one_by_one` and `batched` examine the same images; `operation` adds the work of
`detect_project` around the detector: reading, checksums, decoding, parts and tables. On a GPU, the peak is the memory
that torch allocated; otherwise it is the resident memory of the process, including the network.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from benchmarks.costs import forget_own_peak, own_peak_bytes
from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.records import ClassPrompts, RgbImage
from data_miner_dagster.domain.tables import DEDUPLICATED_SCHEMA
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.storage.tables import table_from_rows, write_table
from data_miner_dagster_tests.support.catalog import add_video
from data_miner_dagster_tests.support.frames import write_pictures

PROJECT: Final = "benchmark"
KEY: Final = "local-benchmark"
FRAME_WH: Final = (1280, 720)
NAMES: Final = (
    "grounding-dino-base",
    "llmdet-tiny",
    "llmdet-large",
    "owlv2-base",
    "sam3",
    "rt-detr-v2-r50",
    "d-fine-large",
    "deimv2-m",
    "rf-detr-medium",
    "yoloe-26s",
)
"""The names in full_size.py, repeated here because that module imports torch."""
CLASSES: Final = {"person": (), "bicycle": ("a bicycle",), "car": (), "bus": ("a bus",)}


def make_images(count: int) -> list[RgbImage]:
    """Return `count` images of 1280 x 720 pixels: smooth noise with a few hard edges."""
    random = np.random.default_rng(0)
    width, height = FRAME_WH
    images = []
    for _ in range(count):
        coarse = random.integers(0, 256, (9, 16, 3), np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(5):
            left, top = int(random.integers(0, width - 200)), int(random.integers(0, height - 200))
            image[top : top + 200, left : left + 120] = random.integers(0, 256, 3)
        images.append(np.asarray(image, np.uint8))
    return images


def models_of(architecture: str, device: str, scratch: Path) -> ModelProvider:
    """Return a provider whose detector is the one to measure."""
    if architecture == "lite":
        return ModelProvider(ModelsConfig(profile="lite"))
    # Imported here because the lite detector needs no torch.
    from benchmarks.full_size import save_full_size

    entry = save_full_size(architecture, scratch / architecture)
    content = {"detector": "random", "device": device, "registry": {"random": entry}}
    return ModelProvider(ModelsConfig.model_validate(content))


@dataclass(frozen=True, slots=True)
class Run:
    """The cost of examining all images once."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def run_of(action: Callable[[], object], *, repeats: int, device: str) -> Run:
    """Return the least times and highest peak of `repeats` runs after a warm-up, or of one run if `repeats` is 0."""
    runs = [_run_once(action, device) for _ in range(repeats + 1)][1 if repeats else 0 :]
    return Run(
        min(run.wall_seconds for run in runs),
        min(run.cpu_seconds for run in runs),
        max(run.peak_bytes for run in runs),
    )


def _run_once(action: Callable[[], object], device: str) -> Run:
    on_cuda = device.startswith("cuda")
    if on_cuda:
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    else:
        forget_own_peak()
    started, started_cpu = time.perf_counter(), time.process_time()
    action()  # returns arrays, so the computation is complete
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    return Run(wall, cpu, torch.cuda.max_memory_allocated(device) if on_cuda else own_peak_bytes())


def measure_detector(
    detector: ObjectDetector, images: Sequence[RgbImage], arguments: argparse.Namespace
) -> dict[str, float]:
    """Return images per second, processor seconds per image and peak memory, one by one and batched."""
    classes = [ClassPrompts(name, prompts or (name,)) for name, prompts in CLASSES.items()]

    def look(step: int) -> Callable[[], None]:
        def action() -> None:
            for start in range(0, len(images), step):
                detector.detect(images[start : start + step], classes, confidence_floor=0.05)

        return action

    figures: dict[str, float] = {}
    walls = []
    for name, step in {"one_by_one": 1, "batched": arguments.batch_size}.items():
        if name == "batched" and step == 1:
            continue
        run = run_of(look(step), repeats=arguments.repeats, device=arguments.device)
        figures[f"{name}_images_per_second"] = len(images) / run.wall_seconds
        figures[f"{name}_cpu_seconds_per_image"] = run.cpu_seconds / len(images)
        figures[f"{name}_peak_megabytes"] = run.peak_bytes / 1e6
        walls.append(run.wall_seconds)
    return {**figures, "batched_speedup": walls[0] / walls[1]} if len(walls) == 2 else figures


def plant(platform: Platform, images: Sequence[RgbImage], batch_size: int) -> None:
    """Write a deduplicated project of one video with these frames."""
    config = ProjectConfig.model_validate(
        {
            "name": PROJECT,
            "sourcing": {"sources": [{"type": "files", "paths": ["."]}]},
            "filtering": {"positive": ["a street"]},
            "detection": {"classes": CLASSES, "batch_size": batch_size},
        }
    ).model_dump(mode="json")
    save_snapshot(platform.database, PROJECT, config, fingerprint_of(config), None)
    add_video(platform.database, KEY, PROJECT)
    contents = [cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes() for image in images]
    write_pictures(platform.layout, KEY, contents)
    kept = [
        {
            "frame_id": make_frame_id(KEY, index),
            "video_key": KEY,
            "frame_index": index,
            "is_representative": True,
            "representative_frame_id": make_frame_id(KEY, index),
            "quality_rank": index,
            "generation": 0,
        }
        for index in range(len(images))
    ]
    table = table_from_rows(kept, DEDUPLICATED_SCHEMA)
    write_table(platform.layout.deduplicated_table(PROJECT), table, fingerprint="deduplicated")


def measure_operation(models: ModelProvider, images: Sequence[RgbImage], batch_size: int, root: Path) -> float:
    """Return the images per second of `detect_project` on a new project, with the model already loaded."""
    platform = Platform(PlatformConfig(), root, models=models)
    plant(platform, images, batch_size)
    started = time.perf_counter()
    outcome = detect_project(platform, PROJECT)
    seconds = time.perf_counter() - started
    if outcome.counts["frames"] != len(images):
        raise SystemExit(f"{outcome.counts['frames']} frames were examined instead of {len(images)}")
    return len(images) / seconds


def device_name(device: str) -> str:
    """Return a description of the machine and device."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    cpus = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line for line in cpus if line.startswith("model name")]
    return f"{len(models)} x {models[0].partition(':')[2].strip()}" if models else "cpu"


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=["lite", *NAMES], default="lite")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--repeats", type=int, default=3, help="the number of runs after a warm-up run; 0 for one run without a warm-up"
    )
    parser.add_argument("--threads", type=int, help="the number of threads of torch, which spin while they wait")
    parser.add_argument("--only-detector", action="store_true", help="measure only the detector, not the operation")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    images = make_images(arguments.images)
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        models = models_of(arguments.architecture, arguments.device, Path(scratch))
        figures: dict[str, object] = {
            "architecture": arguments.architecture,
            "device": device_name(arguments.device),
            "num_images": arguments.images,
            "batch_size": arguments.batch_size,
        }
        speed = measure_detector(models.detector.load(), images, arguments)
        figures |= speed
        if not arguments.only_detector:
            operation = measure_operation(models, images, arguments.batch_size, Path(scratch) / "root")
            figures["operation_images_per_second"] = operation
            batched = speed.get("batched_images_per_second", speed["one_by_one_images_per_second"])
            figures["operation_ratio"] = batched / operation
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value:.2f}" if isinstance(value, float) else f"{name:32} {value}")


if __name__ == "__main__":
    main()
