import json
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import yaml

from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.end_to_end.commands import command, environment
from data_miner_dagster_tests.support.file_hub import SHARDS, serving_files, use_hub


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
        f"the classes of own are stored only in its weights ({tmp_path / 'own.pt'}), which this command does not open; "
        "export the weights as `.onnx` to list the classes\n"
    )


def test_fetch__says_which_models_were_fetched_and_which_were_not(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_files() as (hub, address):
        use_hub(monkeypatch, address, tmp_path)
        hub.refused, hub.only_of = (SHARDS[1],), "dinov2-base"
        with pytest.raises(ModelError) as raised:
            run_command("models", "fetch", "--profile", "standard")
        assert str(raised.value).startswith("model dinov2-base (hf:facebook/dinov2-base) could not be loaded (")
        assert str(raised.value).endswith("; fetched: siglip2-so400m, llmdet-tiny; not fetched: dinov2-base")
        hub.refused, hub.sent = (), ()
        lines = run_command("models", "fetch", "--profile", "standard").stdout.splitlines()
        assert lines[-4:] == [
            *(f"{name} is in {tmp_path}" for name in ("siglip2-so400m", "dinov2-base", "llmdet-tiny")),
            "next: run `data-miner run --config FILE --profile standard`",
        ]
        assert list(hub.sent) == [SHARDS[1]], "what the refused model lacked"


def test_fetch__interrupted_says_how_far_it_came(tmp_path: Path) -> None:
    with serving_files() as (hub, address):
        hub.refused, hub.only_of, hub.stalled = (SHARDS[1],), "llmdet_tiny", threading.Event()
        with subprocess.Popen(
            command("models", "fetch", "--profile", "standard"),
            env=environment() | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # tests in the background of a shell ignore SIGINT, which this process would inherit
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:
            assert hub.stalled.wait(timeout=300)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=300)
    assert process.returncode == 130
    assert told.splitlines()[-1] == (
        "interrupted; fetched: siglip2-so400m, dinov2-base; not fetched: llmdet-tiny; run again to continue"
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
    with pytest.raises(ConfigError, match=r"model 'none' is not in the registry; .* list --root .* --config "):
        run_command(*wanted, "--model", "none")
