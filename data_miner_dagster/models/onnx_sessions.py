"""ONNX Runtime on the CPU, and graphs written node by node.

Belongs here: what every ONNX model of ours shares. Does not belong here: any one network's layers.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx


def num_threads() -> int:
    """Return how many threads to compute with: the processors this process may use, or OMP_NUM_THREADS if set lower."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(available, int(asked))) if asked.isdigit() and int(asked) else available


def open_session(model: Path | bytes) -> Any:
    """Return an inference session of a model, in a file or in memory, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads()
    # Threads that wait must not burn the cores that decode the next images.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Graph:
    """Nodes and constants as they are added; every method returns the name of what it computes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: npt.NDArray[Any]) -> str:
        """Add a constant."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Add an operation."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.named_node(operator, inputs, name, **attributes)
        return name

    def named_node(self, operator: str, inputs: tuple[str, ...], name: str, **attributes: object) -> None:
        """Add an operation whose result has a name of its own: an output."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))

    def split_last(self, source: str, sizes: Sequence[int]) -> list[str]:
        """Add a cut of the last axis into parts of these sizes; return their names."""
        from onnx import helper

        names = [f"split_{len(self.nodes)}_{part}" for part in range(len(sizes))]
        lengths = self.constant(np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [source, lengths], names, name=f"split_{len(self.nodes)}", axis=-1))
        return names
