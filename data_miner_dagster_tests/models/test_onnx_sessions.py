import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_miner_dagster.models.onnx_sessions import NO_TELEMETRY, num_threads

_OPEN = """
from onnx import TensorProto, helper
from data_miner_dagster.models.onnx_sessions import open_session
values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", values[:1], values[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
print(open_session(model.SerializeToString()).run(None, {"x": __import__("numpy").ones(1, "float32")})[0][0])
"""


def test_num_threads__no_more_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert num_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert num_threads() >= 1


def test_open_session__leaves_nothing_in_the_home_of_the_user(tmp_path: Path) -> None:
    # On a build service, onnxruntime sends no telemetry anyway.
    unwanted = (*NO_TELEMETRY, "XDG_CACHE_HOME", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN], env={**kept, "HOME": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1.0\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
