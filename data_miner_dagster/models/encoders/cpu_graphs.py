"""Hub encoders as ONNX graphs, and the runtimes that execute them on a CPU in a fraction of torch's time.

Belongs here: writing, storing and opening the graph. Does not belong here: the forward pass itself (hub_encoders.py).
The graph maps uint8 images to unit vectors, so the runtimes differ only in how they execute it.
"""

import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.config.models import CpuBackend
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.models.onnx_sessions import num_threads, open_session

if TYPE_CHECKING:
    import torch

GRAPH_VERSION: Final = 1
"""The version of the graph. Increment it when the same weights result in a different graph."""
_OPSET: Final = 17

ForwardPass = Callable[[npt.NDArray[np.uint8]], Float32Array]


def check_installed(backend: CpuBackend) -> None:
    """Ensure that a backend's optional package, if it needs one, is installed. The package is not imported.

    Raises:
        ModelError: the package is not installed.
    """
    if backend.startswith("openvino") and importlib.util.find_spec("openvino") is None:
        raise ModelError(
            f"platform.models.cpu_backend is {backend!r}, but the package openvino is not installed; "
            "run `pip install 'data-miner-dagster[openvino]'` to install it, or set "
            "platform.models.cpu_backend to 'onnxruntime'"
        )


def write_graph(
    network: "torch.nn.Module",
    vectors_of: "Callable[[torch.Tensor], torch.Tensor]",
    input_wh: tuple[int, int],
    to: Path,
    *,
    model: str,
) -> None:
    """Write `vectors_of`, which calls `network`, to the file `to` as a graph that maps `images` to `vectors`.

    `images` is (N, H, W, 3) uint8, of the size `input_wh`, and `vectors` is (N, D). The error message names `model`.
    The call may change the network, which should not be used for anything else afterwards.

    Raises:
        ModelError: the network cannot be exported as a graph.
    """
    import torch

    _keep_positions(network, input_wh)

    class ImagePass(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network  # registers the network's weights

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return vectors_of(images)

    width, height = input_wh
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Tracing warns that sizes become constants, and recommends the newer exporter, which needs more packages.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                ImagePass().eval(),
                (torch.zeros((2, height, width, 3), dtype=torch.uint8),),
                str(to),
                input_names=["images"],
                output_names=["vectors"],
                dynamic_axes={"images": {0: "batch"}, "vectors": {0: "batch"}},
                opset_version=_OPSET,
                dynamo=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"model {model} cannot be exported to ONNX ({reason}); use `platform.models.cpu_backend: torch`"
        ) from error


def _keep_positions(network: "torch.nn.Module", input_wh: tuple[int, int]) -> None:
    """Make TIPSv2 use its position embeddings unchanged if images have the size that it was trained with.

    While the network is traced, it would interpolate them even at this size, in a way that a graph cannot express.
    """
    from transformers.models.tipsv2.modeling_tipsv2 import Tipsv2VisionEmbeddings

    width, height = input_wh
    for module in network.modules():
        if isinstance(module, Tipsv2VisionEmbeddings):
            positions = module.position_embeddings
            side = int(module.config.patch_size)
            if positions.shape[1] == 1 + (width // side) * (height // side):
                module.interpolate_pos_encoding = lambda *_, kept=positions: kept


def open_graph(backend: CpuBackend, graph: Path) -> ForwardPass:
    """Return the forward pass of a graph that `write_graph` wrote. The returned function is thread-safe.

    Raises:
        ModelError: the package that the backend needs is not installed.
    """
    if backend == "onnxruntime":
        session = open_session(graph)

        def run(batch: npt.NDArray[np.uint8]) -> Float32Array:
            vectors: Float32Array = session.run(["vectors"], {"images": batch})[0]
            return vectors

        return run
    return _open_with_openvino(graph, "bf16" if backend == "openvino-bfloat16" else "f32", backend)


def _open_with_openvino(graph: Path, precision: str, backend: CpuBackend) -> ForwardPass:
    check_installed(backend)
    # Use only the runtime: openvino's own conversion sends usage reports over the network.
    from openvino import Core

    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch at a time
        "INFERENCE_NUM_THREADS": num_threads(),
        "INFERENCE_PRECISION_HINT": precision,
    }
    compiled = Core().compile_model(str(graph), "CPU", settings)

    def run(batch: npt.NDArray[np.uint8]) -> Float32Array:
        # Create a request per call, since all threads would share the compiled model's own request.
        vectors: Float32Array = compiled.create_infer_request().infer({0: batch})[0]
        return vectors

    return run
