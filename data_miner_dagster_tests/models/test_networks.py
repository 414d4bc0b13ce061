import subprocess
import sys
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.models.networks import names_of_network, network_of, network_sizes


def test_network_sizes__ultralytics_finds_each_name(tmp_path: Path) -> None:
    """Ultralytics itself finds a file for each name and size, but listing the names does not require importing it."""
    code = (
        "import sys\n"
        "from data_miner_dagster.models.networks import names_of_network, network_sizes\n"
        "names = [(n, size) for s, sizes in network_sizes().items()\n"
        "         for n, size in zip(names_of_network(s, sizes), ['', *sizes], strict=True)]\n"
        "assert not {'torch', 'ultralytics'} & set(sys.modules)\n"
        "from ultralytics.nn.tasks import yaml_model_load\n"
        "for name, size in names:\n"
        "    found = yaml_model_load(name + '.yaml')\n"
        "    assert found['head'][-1][2] in ('Detect', 'v10Detect'), name\n"
        "    assert not size or found['scale'] == size, name\n"
        "print(len(names))\n"
    )
    folders = {"YOLO_CONFIG_DIR": str(tmp_path), "MPLCONFIGDIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=folders)
    assert int(done.stdout.splitlines()[-1]) > 50
    assert network_sizes()["yolo11"] == "nsmlx"


def test_network_of__names_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("yolo11n", "yolo11", "yolo26n-p2", "yolov10b", "yolov9c", "yolov3-tiny"):
        assert network_of(name) == f"{name}.yaml"
    own = tmp_path / "own.yaml"
    own.write_text("nc: 2")
    assert network_of(str(own)) == str(own)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert network_of("~/own.yaml") == str(own)
    with pytest.raises(ConfigError, match=r"file .*missing\.yaml does not exist; correct its path"):
        network_of(str(tmp_path / "missing.yaml"))


@pytest.mark.parametrize("name", ["yolo99n", "yolo11q", "yolo11n-seg", "yolo11-seg", "yolov10", "yolo26-p2n", ""])
def test_network_of__says_which_networks_exist(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"network '{name}' does not exist .* yolo11 \(n/s/m/l/x\), .*yolov10b, yolov10l"
    ):
        network_of(name)
    assert not any(name in names_of_network(stem, sizes) for stem, sizes in network_sizes().items())
