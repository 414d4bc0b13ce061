"""How many images a second the detectors look at: one by one, batched, and within the operation.

    python -m benchmarks.detection                        # the lite detector on this machine's CPU, real weights
    python -m benchmarks.detection --images 16            # a small size, to see that it works
    python -m benchmarks.detection --json
    python -m benchmarks.detection --architecture grounding-dino-base --device cuda   # by hand, where a GPU is at hand
    python -m benchmarks.detection --architecture owlv2-base --device cuda

The architectures of the hub's models are built at full size with random weights: the arithmetic is theirs, and no
model is downloaded. `one_by_one` and `batched` see the same images; `operation` adds everything `detect_project` does
around the detector: reading, checksums, decoding, parts, tables.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

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
CLASSES: Final = {"person": (), "bicycle": ("a bicycle",), "car": (), "bus": ("a bus",)}


def make_images(count: int) -> list[RgbImage]:
    """Return smooth noise with a few hard edges, 1280 x 720."""
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


def save_random(architecture: str, folder: Path) -> str:
    """Write a network of full size with random weights; return the architecture's name in the registry."""
    import torch
    import transformers

    from data_miner_dagster_tests.support.tiny_detectors import save_bert_tokenizer, save_clip_tokenizer

    torch.manual_seed(0)
    if architecture == "grounding-dino-base":
        # Source: config.json of IDEA-Research/grounding-dino-base.
        backbone = transformers.SwinConfig(
            image_size=384,
            embed_dim=128,
            depths=[2, 2, 18, 2],
            num_heads=[4, 8, 16, 32],
            window_size=12,
            out_indices=[2, 3, 4],
        )
        config = transformers.GroundingDinoConfig(backbone_config=backbone, disable_custom_kernels=True)
        transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
        transformers.GroundingDinoImageProcessor().save_pretrained(folder)
        save_bert_tokenizer(folder)
        return "grounding-dino"
    # Source: config.json of google/owlv2-base-patch16-ensemble.
    transformers.Owlv2ForObjectDetection(
        transformers.Owlv2Config(
            text_config={"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8},
            vision_config={"hidden_size": 768, "image_size": 960, "patch_size": 16},
            projection_dim=512,
        )
    ).save_pretrained(folder)
    transformers.Owlv2ImageProcessor().save_pretrained(folder)
    save_clip_tokenizer(folder, 16)
    return "owlv2"


def models_of(architecture: str, device: str, scratch: Path) -> ModelProvider:
    """Return a provider whose detector is the one to measure."""
    if architecture == "lite":
        return ModelProvider(ModelsConfig(profile="lite"))
    folder = scratch / architecture
    entry = {"architecture": save_random(architecture, folder), "source": f"file:{folder}"}
    content = {"detector": "random", "device": device, "registry": {"random": entry}}
    return ModelProvider(ModelsConfig.model_validate(content))


def seconds_of(action: Callable[[], object], *, repeats: int) -> tuple[float, float]:
    """Return the best wall-clock and the best processor time of `repeats` runs, after one that does not count."""
    action()
    times = []
    for _ in range(repeats):
        started, started_cpu = time.perf_counter(), time.process_time()
        action()
        times.append((time.perf_counter() - started, time.process_time() - started_cpu))
    return min(wall for wall, _ in times), min(cpu for _, cpu in times)


def measure_detector(
    detector: ObjectDetector, images: Sequence[RgbImage], batch_size: int, repeats: int
) -> dict[str, float]:
    """Return images a second, and processor seconds an image, one by one and batched."""
    classes = [ClassPrompts(name, prompts or (name,)) for name, prompts in CLASSES.items()]

    def run(step: int) -> None:
        for start in range(0, len(images), step):
            detector.detect(images[start : start + step], classes, confidence_floor=0.05)

    one_by_one, one_by_one_cpu = seconds_of(lambda: run(1), repeats=repeats)
    batched, batched_cpu = seconds_of(lambda: run(batch_size), repeats=repeats)
    return {
        "one_by_one_images_per_second": len(images) / one_by_one,
        "batched_images_per_second": len(images) / batched,
        "batched_speedup": one_by_one / batched,
        "one_by_one_cpu_seconds_per_image": one_by_one_cpu / len(images),
        "batched_cpu_seconds_per_image": batched_cpu / len(images),
    }


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
    """Return images a second of `detect_project` on a fresh project, the model loaded already."""
    platform = Platform(PlatformConfig(), root, models=models)
    plant(platform, images, batch_size)
    started = time.perf_counter()
    outcome = detect_project(platform, PROJECT)
    seconds = time.perf_counter() - started
    if outcome.counts["frames"] != len(images):
        raise SystemExit(f"{outcome.counts['frames']} frames were looked at instead of {len(images)}")
    return len(images) / seconds


def device_name(device: str) -> str:
    """Return what the measurement ran on."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    cpus = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    models = [line for line in cpus if line.startswith("model name")]
    return f"{len(models)} x {models[0].partition(':')[2].strip()}" if models else "cpu"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=["lite", "grounding-dino-base", "owlv2-base"], default="lite")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    images = make_images(arguments.images)
    with tempfile.TemporaryDirectory() as scratch:
        models = models_of(arguments.architecture, arguments.device, Path(scratch))
        figures: dict[str, object] = {
            "architecture": arguments.architecture,
            "device": device_name(arguments.device),
            "num_images": arguments.images,
            "batch_size": arguments.batch_size,
        }
        speed = measure_detector(models.detector.load(), images, arguments.batch_size, arguments.repeats)
        operation = measure_operation(models, images, arguments.batch_size, Path(scratch) / "root")
        figures |= speed
        figures["operation_images_per_second"] = operation
        figures["operation_ratio"] = speed["batched_images_per_second"] / operation
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:32} {value:.2f}" if isinstance(value, float) else f"{name:32} {value}")


if __name__ == "__main__":
    main()
