"""Inference sessions of ONNX Runtime on the CPU, and a builder for graphs that are written node by node.

Belongs here: code that all our ONNX models share. Does not belong here: the layers of a particular network.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

NO_TELEMETRY: Final[Mapping[str, str]] = {"ORT_DISABLE_TELEMETRY": "1"}
"""Environment variables to set before ONNX Runtime is imported. Without them, ONNX Runtime sends usage reports and
leaves an identifier of this machine in the user's cache folder.

Source: Privacy.md, which every wheel of ONNX Runtime contains.
"""


def num_threads() -> int:
    """Return the number of threads to compute with: this process's CPUs, or OMP_NUM_THREADS if that is lower."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(available, int(asked))) if asked.isdigit() and int(asked) else available


def open_session(model: Path | bytes) -> Any:
    """Return a CPU inference session for a model in a file or in memory."""
    os.environ.update(NO_TELEMETRY)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads()
    # Waiting threads must not occupy the cores on which the next images are decoded.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class Graph:
    """An ONNX graph under construction. Nodes refer to constants and to outputs of other nodes by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: npt.NDArray[Any]) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: object) -> str:
        """Add an operation and return the name of its output."""
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.named_node(operator, inputs, name, **attributes)
        return name

    def named_node(self, operator: str, inputs: tuple[str, ...], name: str, **attributes: object) -> None:
        """Add an operation whose output has the given name, by which a session can request it."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))

    def split_last(self, source: str, sizes: Sequence[int]) -> list[str]:
        """Split a value along its last axis into parts of the given sizes, and return the names of the parts."""
        from onnx import helper

        names = [f"split_{len(self.nodes)}_{part}" for part in range(len(sizes))]
        lengths = self.constant(np.array(sizes, np.int64))
        self.nodes.append(helper.make_node("Split", [source, lengths], names, name=f"split_{len(self.nodes)}", axis=-1))
        return names
