import json
from pathlib import Path

import pytest
import yaml

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.file_hub import serving_files, use_hub


def test_list__marks_what_the_profile_uses(run_command: RunCommand, tmp_path: Path) -> None:
    result = run_command("models", "list", "--profile", "lite", "--root", tmp_path, "--json")
    used = {row["name"] for row in json.loads(result.stdout) if row["is_used"]}
    assert {"lite-conse", "lite-efficientnet"} <= used
    assert len(used) == 3
    assert "Apache-2.0" in run_command("models", "list", "--root", tmp_path).stdout


def test_fetch__unknown_profile(run_command: RunCommand) -> None:
    with pytest.raises(ConfigError, match=r"profile 'light' does not exist; use one of lite, standard"):
        run_command("models", "fetch", "--profile", "light")


def test_classes__of_a_fixed_and_of_an_open_vocabulary(run_command: RunCommand, tmp_path: Path) -> None:
    names = run_command("models", "classes", "lite-yolov3-tiny", "--root", tmp_path).stdout.splitlines()
    assert (len(names), names[0], names[-1]) == (80, "person", "toothbrush")
    told = run_command("models", "classes", "grounding-dino-base", "--root", tmp_path).stdout
    assert told == "grounding-dino-base has no list of classes, because it detects anything that a phrase describes\n"


def test_classes__of_weights_that_are_not_opened(run_command: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "own.pt").write_bytes(b"weights")
    own = {"architecture": "ultralytics", "source": f"ultralytics:{tmp_path / 'own.pt'}"}
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump({"platform": {"models": {"registry": {"own": own}}}}))
    told = run_command("models", "classes", "own", "--root", tmp_path / "root", "--config", config).stdout
    assert told == (
        f"the classes of own are only in its weights ({tmp_path / 'own.pt'}), which are not opened to list them; "
        "export the weights as `.onnx` to have them listed\n"
    )


def test_fetch__a_model_by_name(run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"architecture": "dinov2", "source": "hf:me/own", "revision": "0" * 40}
    config = tmp_path / "own.yaml"
    config.write_text(yaml.safe_dump({"platform": {"models": {"registry": {"own": own}}}}))
    with serving_files() as (_, address):
        use_hub(monkeypatch, address, tmp_path / "hub")
        wanted = ("models", "fetch", "--root", tmp_path / "root", "--config", config)
        told = run_command(*wanted, "--model", "own", "--model", "d-fine-medium").stdout.splitlines()
    assert told[-2:] == [f"own is in {tmp_path / 'hub'}", f"d-fine-medium is in {tmp_path / 'hub'}"]
    assert sorted(path.name for path in (tmp_path / "hub").glob("models--*")) == [
        "models--me--own",
        "models--ustc-community--dfine-medium-coco",
    ]
    with pytest.raises(ConfigError, match=r"model 'none' is not in the registry; `data-miner models list`"):
        run_command(*wanted, "--model", "none")
