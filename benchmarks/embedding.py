"""Compare the speed of the embedding pipeline with that of the model alone.

    python -m benchmarks.embedding [--json] [--repeats 5] [--images 64] [--only KEY]
    python -m benchmarks.embedding --only embedding_gpu [--device cuda] [--tiny]

- `embedding_cpu` is the number of images per second from JPEGs on disk, divided by that of the bare forward pass on
  tensors in memory, in the same process and with the same threads. The network is DINOv2-small with random weights, and
  the JPEGs are 720p.
- `embedding_cpu_lite` is this ratio for `lite-efficientnet`, if it has been fetched. The network is so small that
  decoding matters.
- `embedding_gpu` is this ratio for SigLIP2-so400m-384, in bfloat16 on CUDA; `--device cpu --tiny` shows that the
  command works.
- `embedding_backends` compares the bare forward pass in torch, ONNX Runtime and OpenVINO on the CPU.

Figures are medians of the repeats. The two sides of a ratio are measured in turn, since other work on the machine would
otherwise affect only one of them. The ratio of processor times is reliable on a busy machine too; for torch this needs
OMP_NUM_THREADS=1, since its threads spin while they wait. Peak memory is that of a process that embeds.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, get_args

import cv2
import numpy as np

from data_miner_dagster.config.models import CpuBackend, ModelEntryConfig, ModelsConfig
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.media.images import read_stored_image_reduced
from data_miner_dagster.models.packages import missing_packages
from data_miner_dagster.models.pins import EFFICIENTNET_LITE0
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.protocols.encoders import ImageEncoder
from data_miner_dagster.stages.embedding import Batching, embed_in_batches

StoredFile = tuple[Path, str]


def save_dino_small(folder: Path) -> ModelsConfig:
    """Save DINOv2-small's architecture with random weights and return a configuration that names it."""
    from transformers import CLIPImageProcessor, Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=224, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}).save_pretrained(folder)
    return models_of("dinov2", folder)


@dataclass(frozen=True, slots=True)
class SiglipShape:
    """The size of a SigLIP 2 network with a fixed resolution."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int
    patch_size: int


SO400M: Final = SiglipShape(1152, 4304, 27, 16, 384, 14)
BASE: Final = SiglipShape(768, 3072, 12, 12, 224, 16)
TINY: Final = SiglipShape(64, 128, 2, 4, 64, 16)


def save_siglip2(folder: Path, shape: SiglipShape) -> ModelsConfig:
    """Save SigLIP 2's vision architecture with random weights (and a small text tower)."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel

    text = {
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": 1,
        "num_attention_heads": shape.num_attention_heads,
        "vocab_size": 100,
        "pad_token_id": 0,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    SiglipModel(SiglipConfig(text_config=text, vision_config=asdict(shape))).save_pretrained(folder)
    SiglipImageProcessor(size={"height": shape.image_size, "width": shape.image_size}).save_pretrained(folder)
    words = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return models_of("siglip2", folder)


def models_of(architecture: str, folder: Path) -> ModelsConfig:
    """Return a configuration whose dedup encoder is the model in a folder."""
    entry = ModelEntryConfig(architecture=architecture, source=f"file:{folder}")
    return ModelsConfig(registry={"bench": entry}, dedup_encoder="bench", device="cpu")


def write_jpegs(folder: Path, count: int) -> list[StoredFile]:
    """Write `count` 720p JPEGs of noise over gradients, about as large as photographs of that size."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    rows, columns = np.mgrid[0:720, 0:1280]
    files = []
    for index in range(count):
        base = (
            np.stack([rows / 3, columns / 5, (rows + columns) / 8], axis=-1)
            + 20 * np.sin(columns / (7 + index))[..., None]
        )
        image = np.clip(base + noise.normal(0, 6, (720, 1280, 1)), 0, 255).astype(np.uint8)
        path = folder / f"{index:06d}.jpg"
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        files.append((path, hashlib.sha256(path.read_bytes()).hexdigest()))
    return files


def compare(encoder: ImageEncoder, files: list[StoredFile], *, batch_size: int, threads: int, repeats: int) -> Any:
    """Return the figures of one encoder: images per second, bare and from disk, and their ratio."""
    load = load_for(encoder)
    prepared = [encoder.preprocess(load(file)) for file in files]
    batching = Batching(batch_size, decode_threads=threads, max_batch_bytes=1 << 30)
    batches = [np.stack(prepared[start : start + batch_size]) for start in range(0, len(prepared), batch_size)]

    def bare() -> None:
        for batch in batches:
            encoder.embed_batch(batch)

    def from_disk() -> None:
        run = partial(embed_in_batches, batching=batching)
        assert sum(result.vector is not None for result in run(encoder, files, load)) == len(files)

    bare()
    from_disk()
    bare_seconds: list[float] = []
    disk_seconds: list[float] = []
    bare_cpu: list[float] = []
    disk_cpu: list[float] = []
    for _ in range(repeats):
        for work, seconds, cpu in ((bare, bare_seconds, bare_cpu), (from_disk, disk_seconds, disk_cpu)):
            wall_used, cpu_used = _seconds(work)
            seconds.append(wall_used)
            cpu.append(cpu_used)
    bare_cpu_used, disk_cpu_used = statistics.median(bare_cpu), statistics.median(disk_cpu)
    bare_rate = len(files) / statistics.median(bare_seconds)
    disk_rate = len(files) / statistics.median(disk_seconds)
    return {
        "images_per_second": round(disk_rate, 2),
        "bare_images_per_second": round(bare_rate, 2),
        "ratio": round(disk_rate / bare_rate, 3),
        "num_images": len(files),
        "batch_size": batch_size,
        "cpu_ratio": round(bare_cpu_used / disk_cpu_used, 3),
        "cpu_ms_per_image": round(1000 * disk_cpu_used / len(files), 1),
        "bare_cpu_ms_per_image": round(1000 * bare_cpu_used / len(files), 1),
    }


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the wall time and the processor time of all threads, in seconds."""
    start, cpu_start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu_start


def peak_megabytes(files: list[StoredFile]) -> float:
    """Return the peak resident memory of a process that embeds these files with `lite-efficientnet`."""
    code = (
        "import json, sys; from pathlib import Path\n"
        "from benchmarks.embedding import lite_models, load_for\n"
        "from data_miner_dagster.stages.embedding import Batching, embed_in_batches\n"
        "encoder = lite_models().dedup_encoder.load()\n"
        "files = [(Path(path), sha256) for path, sha256 in json.load(sys.stdin)]\n"
        "batching = Batching(batch_size=32, decode_threads=2, max_batch_bytes=1 << 28)\n"
        "for _ in embed_in_batches(encoder, files, load_for(encoder), batching): pass\n"
        "from benchmarks.costs import own_peak_bytes\n"
        "print(own_peak_bytes() / 2**20)"
    )
    content = json.dumps([(str(path), sha256) for path, sha256 in files])
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, check=True, input=content, capture_output=True, text=True).stdout)


def compare_backends(config: ModelsConfig, *, num_images: int, repeats: int) -> dict[str, Any]:
    """Return, by backend, the times per image of the bare forward pass and the deviation from torch's vectors.

    Torch's threads spin while they wait, so its processor time includes waiting if the machine is busy. The wall time
    is therefore returned as well.
    """
    results: dict[str, Any] = {}
    reference: Float32Array | None = None
    for backend in get_args(CpuBackend):
        encoder = ModelProvider(config.model_copy(update={"cpu_backend": backend})).dedup_encoder.load()
        side = encoder.input_side
        batch = np.random.default_rng(0).integers(0, 256, (num_images, side, side, 3), np.uint8)
        vectors = encoder.embed_batch(batch)
        reference = vectors if reference is None else reference
        times = [_seconds(partial(encoder.embed_batch, batch)) for _ in range(repeats)]
        results[backend] = {
            "ms_per_image": round(1000 * statistics.median(wall for wall, _ in times) / num_images, 1),
            "cpu_ms_per_image": round(1000 * statistics.median(cpu for _, cpu in times) / num_images, 1),
            "largest_difference": float(f"{np.abs(vectors - reference).max():.1e}"),
            "least_cosine": round(float((vectors * reference).sum(axis=1).min()), 6),
        }
    return results


def lite_models() -> ModelProvider:
    """Return the models of the `lite` profile."""
    return ModelProvider(ModelsConfig(profile="lite"))


def load_for(encoder: ImageEncoder) -> Callable[[StoredFile], Any]:
    """Return the function with which the pipeline reads a file for this encoder."""
    return lambda file: read_stored_image_reduced(*file, encoder.input_side)


def measure(*, num_images: int, repeats: int, only: str | None, device: str, is_tiny: bool) -> dict[str, Any]:
    """Return the figures by key. `embedding_gpu` is included if CUDA is available or if `only` names it."""
    results: dict[str, Any] = {}
    # The folder is temporary, since graphs with random weights are useless later.
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        files = write_jpegs(root / "frames", num_images)
        if only in (None, "embedding_cpu_lite") and not missing_packages([EFFICIENTNET_LITE0]):
            results["embedding_cpu_lite"] = {
                **compare(lite_models().dedup_encoder.load(), files, batch_size=32, threads=2, repeats=repeats),
                "model": "lite-efficientnet",
                "wanted": 0.85,
                "peak_mb": round(peak_megabytes(files), 1),
                "peak_mb_of_four_times_as_many": round(peak_megabytes(files * 4), 1),
            }
        os.environ["DATA_MINER_MODEL_CACHE"] = str(root / "graphs")
        if only in (None, "embedding_cpu"):
            encoder = ModelProvider(save_dino_small(root / "dino")).dedup_encoder.load()
            results["embedding_cpu"] = {
                **compare(encoder, files, batch_size=16, threads=2, repeats=repeats),
                "model": "DINOv2-small architecture, float32",
                "wanted": 0.85,
            }
        if only in (None, "embedding_backends"):
            architectures = {
                "DINOv2-small": save_dino_small(root / "dino"),
                "SigLIP2-base-patch16-224": save_siglip2(root / "siglip2_base", BASE),
            }
            results["embedding_backends"] = {
                name: compare_backends(config, num_images=8, repeats=repeats) for name, config in architectures.items()
            }
        if only == "embedding_gpu" or (only is None and has_cuda()):
            config = save_siglip2(root / "siglip2", TINY if is_tiny else SO400M)
            encoder = ModelProvider(config.model_copy(update={"device": device})).dedup_encoder.load()
            size = "a tiny SigLIP2" if is_tiny else "SigLIP2-so400m-384"
            results["embedding_gpu"] = {
                **compare(encoder, files if is_tiny else files * 16, batch_size=64, threads=12, repeats=repeats),
                "model": f"{size} architecture, {device_name(device)}",
                "wanted": 0.80,
            }
    return results


def has_cuda() -> bool:
    """Return whether CUDA is available."""
    import torch

    return torch.cuda.is_available()


def device_name(device: str) -> str:
    """Return the precision in which encoders run on the device, and the device's name."""
    import torch

    return f"bfloat16, {torch.cuda.get_device_name()}" if device.startswith("cuda") else f"float32, {device}"


def main() -> None:
    """Print a table, or with `--json` one object."""
    keys = ("embedding_cpu", "embedding_cpu_lite", "embedding_backends", "embedding_gpu")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--only", choices=keys)
    parser.add_argument("--device", default="cuda", help="the device of embedding_gpu")
    parser.add_argument(
        "--tiny", action="store_true", help="use a tiny network for embedding_gpu, to check that the command works"
    )
    arguments = parser.parse_args()
    results = measure(
        num_images=arguments.images,
        repeats=arguments.repeats,
        only=arguments.only,
        device=arguments.device,
        is_tiny=arguments.tiny,
    )
    backends = results.pop("embedding_backends", {})
    if arguments.json:
        ratios = {key: figures["ratio"] for key, figures in results.items()}
        gains = {
            f"embedding_{backend.replace('-', '_')}_speedup": round(
                min(found["torch"]["ms_per_image"] / found[backend]["ms_per_image"] for found in backends.values()), 2
            )
            for backend in get_args(CpuBackend)[1:]
            if backends
        }
        details = {**results, "embedding_backends": backends}
        print(json.dumps({**ratios, **gains, "details": details}, indent=2, sort_keys=True))
        return
    print(
        f"{'key':<16}{'ratio':>8}{'wanted':>8}{'img/s':>9}{'bare img/s':>12}{'cpu ms':>8}{'bare':>7}{'ratio':>7}  model"
    )
    for key, figures in results.items():
        print(
            f"{key:<16}{figures['ratio']:>8.3f}{figures['wanted']:>8.2f}{figures['images_per_second']:>9.1f}"
            f"{figures['bare_images_per_second']:>12.1f}{figures['cpu_ms_per_image']:>8.1f}"
            f"{figures['bare_cpu_ms_per_image']:>7.1f}{figures['cpu_ratio']:>7.3f}  {figures['model']}"
        )
        if "peak_mb" in figures:
            print(
                f"{'':<16}peak {figures['peak_mb']} MB; {figures['peak_mb_of_four_times_as_many']} MB for 4x the images"
            )
    for architecture, found in backends.items():
        print(f"\n{architecture + ', bare, batch of 8':<40}{'ms/img':>8}{'cpu ms':>8}{'differs by':>12}{'cosine':>10}")
        for backend, figures in found.items():
            print(
                f"{backend:<40}{figures['ms_per_image']:>8.1f}{figures['cpu_ms_per_image']:>8.1f}"
                f"{figures['largest_difference']:>12.1e}{figures['least_cosine']:>10.6f}"
            )


if __name__ == "__main__":
    main()
