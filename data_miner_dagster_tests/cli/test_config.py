import json
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.cli.test_catalog import PROJECT


def test_check__project_platform_and_wrong_file(run_command: RunCommand, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    (tmp_path / "clips").mkdir()
    path.write_text(PROJECT)
    assert "is valid: project bikes, 1 source, 1 class" in run_command("config", "check", path).stdout
    path.write_text("platform: {models: {profile: lite}}\n")
    assert "has valid platform settings and no project" in run_command("config", "check", path).stdout
    path.write_text(PROJECT + "detections: {}\n")
    with pytest.raises(ConfigError, match=r"the key 'detections' is unknown; did you mean 'detection'\?"):
        run_command("config", "check", path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["clips", "file.yaml"]


def test_schema__text_and_json(run_command: RunCommand) -> None:
    assert "`platform.extraction.every_seconds`" in run_command("config", "schema").stdout
    schema = json.loads(run_command("config", "schema", "--json").stdout)
    assert set(schema["required"]) == {"name", "sourcing", "filtering", "detection"}


def test_check__a_path_that_is_not_there(run_command: RunCommand, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(FILES)
    with pytest.raises(ConfigError, match=r"sources.0.paths: there is no file or folder 'clips/\*.mp4'"):
        run_command("config", "check", path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()
    assert "is valid: project bikes" in run_command("config", "check", path).stdout


def test_check__against_a_profile_and_a_root(run_command: RunCommand, tmp_path: Path) -> None:
    """`check` refuses what `run` would refuse before any work, with the same message, and creates no root."""
    path, root = tmp_path / "file.yaml", tmp_path / "root"
    (tmp_path / "clips").mkdir()
    path.write_text(PROJECT.replace("bicycle: []", "unicorn: []"))
    assert "valid" in run_command("config", "check", path).stdout
    with pytest.raises(ConfigError, match=r"detects only its own classes \(80, listed by"):
        run_command("config", "check", path, "--root", root, "--profile", "lite")
    assert not root.exists()


def test_check__a_licence_that_the_file_itself_does_not_allow(run_command: RunCommand, tmp_path: Path) -> None:
    models = "platform: {models: {dedup_encoder: dinov3, allowed_licences: [Apache-2.0]}}\n"
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").touch()
    for text in (models, FILES + models):
        path = tmp_path / "file.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"dinov3 \(platform.models.dedup_encoder\) is DINOv3 licence"):
            run_command("config", "check", path)


def test_check__the_licence_of_a_verifier(run_command: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one.mp4").touch()
    path = tmp_path / "file.yaml"
    entry = "{architecture: qwen3-vl, source: 'hf:someone/eyes', licence: Secret}"
    models = f"platform: {{models: {{allowed_licences: [Apache-2.0], registry: {{eyes: {entry}}}}}}}\n"
    path.write_text(FILES.replace("{bicycle: []}}", "{bicycle: []}, verifier: {model: eyes}}") + models)
    with pytest.raises(ConfigError, match=r"the licence of eyes \(detection.verifier.model\) is Secret"):
        run_command("config", "check", path)
    path.write_text(path.read_text().replace("licence: Secret", "licence: apache-2.0"))
    assert "valid" in run_command("config", "check", path).stdout


FILES = """
name: bikes
sourcing: {sources: [{type: files, paths: ["clips/*.mp4"]}]}
filtering: {positive: [a bicycle]}
detection: {classes: {bicycle: []}}
"""


def test_cluster__says_what_a_run_of_each_pool_asks_for(run_command: RunCommand, tmp_path: Path) -> None:
    path = tmp_path / "platform.yaml"
    pools = "{inference: {cpus: 4, memory_gb: 16, gpus: 1, node_selector: {gpu: l4}}}"
    path.write_text(f"platform: {{cluster: {{launcher: kubernetes, pools: {pools}}}}}\n")
    shown = run_command("config", "cluster", path).stdout.splitlines()
    (inference,) = (line for line in shown if line.startswith("inference"))
    assert "4 CPU, 1 GPU, 16 GB, gpu=l4" in inference
    found = json.loads(run_command("config", "cluster", path, "--json").stdout)
    assert found["launcher"] == "kubernetes"
    assert found["pools"].keys() == {"sourcing", "download", "extract", "inference", "release"}
    assert json.loads(found["pools"]["release"]["dagster-k8s/config"]) == {
        "container_config": {"resources": {"requests": {"cpu": "1"}, "limits": {}}}
    }
    path.write_text("platform: {cluster: {launcher: local}}\n")
    assert "runs request no resources" in run_command("config", "cluster", path).stdout
    path.write_text("platform: {cluster: {launcher: ray, pools: {release: {tolerations: [a]}}}}\n")
    with pytest.raises(ConfigError, match=r"pools\.release\.tolerations is for Kubernetes"):
        run_command("config", "cluster", path)
    path.write_text("platform: {cluster: {launcher: kubernetes, pools: {release: {tolerations: ['a:Never']}}}}\n")
    with pytest.raises(ConfigError, match="tolerations"):
        run_command("config", "cluster", path)
