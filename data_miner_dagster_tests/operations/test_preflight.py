from pathlib import Path

import pytest

from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.preflight import check_before_work, lines_of_models_to_fetch
from data_miner_dagster_tests.end_to_end.platform_process import free_port
from data_miner_dagster_tests.support.sample_project import build_project, project_config


def test_check_before_work__what_it_is_compared_with_must_be_ready(tmp_path: Path) -> None:
    platform = build_project(tmp_path, through="filtering")

    def check(config: ProjectConfig) -> None:
        check_before_work(platform, config)

    check(project_config("new"))
    with pytest.raises(ConfigError, match="'cyclists', which has not been deduplicated yet; run that project first"):
        check(project_config("new", deduplication={"against_projects": ["cyclists"]}))
    build_project(tmp_path, through="deduplication")
    check(project_config("new", deduplication={"against_projects": ["cyclists"]}))


def test_check_before_work__every_model_of_the_project_must_be_obtainable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens on the hub's port, and only the tracker is not part of the lite profile."""
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_not_one")
    platform = build_project(tmp_path / "root", through="sourcing")
    assert lines_of_models_to_fetch(platform, project_config("new")) == []
    follows = project_config("new", detection={"classes": {"person": []}, "tracking": {"tracker": "sam3"}})
    assert lines_of_models_to_fetch(platform, follows) == ["model sam3 is fetched from the model hub when first used"]
    with pytest.raises(
        ModelError, match=r"^model sam3 .* does not answer .*; run `data-miner models fetch --model sam3`"
    ):
        check_before_work(platform, follows)


def test_lines_of_models_to_fetch__name_the_command_that_fetches_them(tmp_path: Path) -> None:
    standard = PlatformConfig.model_validate({"models": {"profile": "standard"}})
    (line,) = lines_of_models_to_fetch(Platform(standard, tmp_path), project_config("new"))
    what, now, instead = line.split("; ")
    assert what == "models siglip2-so400m, dinov2-base, llmdet-tiny are fetched from the model hub when first used"
    assert now == "`data-miner models fetch --profile standard` fetches them now"
    assert instead == "`--profile lite` uses small models that need no hub"
    assert not tmp_path.joinpath("catalog.sqlite").exists()
