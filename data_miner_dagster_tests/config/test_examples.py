"""The projects in `examples/` are valid, and use the models that they name."""

import re
from pathlib import Path

import pytest

from data_miner_dagster.config.loading import load_project_file
from data_miner_dagster.models.architectures import ARCHITECTURES
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.models.registry import BUILT_IN
from data_miner_dagster.models.vocabulary import check_classes
from data_miner_dagster.operations.preflight import check_paths

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_example__valid_and_its_models_are_allowed(file: Path) -> None:
    loaded = load_project_file(file)
    check_paths(loaded.project, EXAMPLES)
    models = ModelProvider(loaded.platform.models)
    models.check_allowed(loaded.detection.detectors)
    check_classes(models.detector.entry, loaded.detection.class_prompts)


def test_any_words__uses_the_default_detector_of_standard() -> None:
    loaded = load_project_file(EXAMPLES / "any_words.yaml")
    assert loaded.platform.models.detector is None
    entry = ModelProvider(loaded.platform.models).detector.entry
    assert entry.name == "llmdet-tiny"
    assert not entry.is_gated
    assert ARCHITECTURES[entry.architecture].class_names is None  # it detects any phrase


def test_any_words__other_detectors_that_it_names_exist() -> None:
    named = [
        line.partition("detector:")[2].split()[0]
        for line in (EXAMPLES / "any_words.yaml").read_text(encoding="utf-8").splitlines()
        if "# detector:" in line
    ]
    assert len(named) == 3
    assert set(named) <= set(BUILT_IN)


def test_what_to_choose_when__names_entries_and_architectures_that_exist() -> None:
    page = (EXAMPLES.parent / "docs" / "detection.md").read_text(encoding="utf-8")
    table = page.partition("## What to choose when")[2].partition("\n## ")[0]
    cells = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")]
    named = {name for cell in cells for name in re.findall(r"`([a-z0-9-]+)`", cell)}
    assert len(named) >= 12
    assert named <= {*BUILT_IN, *ARCHITECTURES}
