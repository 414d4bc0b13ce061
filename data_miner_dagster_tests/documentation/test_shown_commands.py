"""The command line accepts all commands that the pages show, and the tutorial's code can read a release."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from data_miner_dagster.cli.main import app
from data_miner_dagster.config.extraction import ExtractionConfig
from data_miner_dagster.config.loading import load_project_file
from data_miner_dagster.domain.phrases import phrase_of
from data_miner_dagster.domain.reasons import DropReason
from data_miner_dagster.export.codec import Destination
from data_miner_dagster.export.formats import EXPORT_FORMATS
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster_tests.recipes.following import REPOSITORY
from data_miner_dagster_tests.support.releases import HEADER, JUDGED_IMAGES, write_format, write_pictures

COMMAND: Any = get_command(app)
MISUSE: Any = typer.BadParameter.__base__
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
TUTORIAL = REPOSITORY / "docs" / "tutorial.md"


def commands_of(page: str) -> Iterator[list[str]]:
    """Yield the words of each `data-miner` command in the shell blocks of a page, including `[--optional]` ones."""
    for block in re.findall(r"(?ms)^```sh\n(.*?)^```$", page):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r" (?:\||&&|;) ", line.partition(" #")[0]):
                if part.strip().startswith("data-miner "):
                    yield shlex.split(re.sub(r"\[(--[^]]+)\]", r"\1", part))[1:]


def test_commands_of__by_hand() -> None:
    page = (
        '```sh\nmake x\ndata-miner a --b "c d" # why\nls | data-miner e \\\n  [--f g]\n```\n```\ndata-miner no\n```\n'
    )
    assert list(commands_of(page)) == [["a", "--b", "c d"], ["e", "--f", "g"]]


def check(words: list[str]) -> None:
    """Raise an error if the command line does not accept these words; the command is not executed."""
    command = COMMAND
    context = command.make_context("data-miner", list(words))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own environment, because options become environment variables."""
    monkeypatch.setattr("os.environ", dict(os.environ))


def test_pages__show_commands_that_are_taken() -> None:
    shown = [(path, words) for path in PAGES for words in commands_of(path.read_text(encoding="utf-8"))]
    assert len(shown) > 25
    refused = {}
    for path, words in shown:
        try:
            check(words)
        except MISUSE as error:
            refused[f"{path.name}: data-miner {shlex.join(words)}"] = error.format_message()
    assert refused == {}


def test_check__refuses_what_the_command_line_does_not_take() -> None:
    check(["run", "--config", "x.yaml"])
    for words in (["runs"], ["run", "--configs", "x.yaml"], ["config", "chek", "x.yaml"], ["cost"]):
        with pytest.raises(MISUSE):
            check(words)


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md", "docs/tutorial.md"])
def test_pages__show_the_funnel_in_the_words_of_today(name: str) -> None:
    page = (REPOSITORY / name).read_text(encoding="utf-8")
    words = re.search(r"(?m)^frames kept +\d+  without \d+ (.+)$", page)
    assert words is not None
    assert words[1] == phrase_of(DropReason.BELOW_POSITIVE)


def test_tutorial__its_first_commands_make_a_project_that_can_be_changed_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    page = TUTORIAL.read_text(encoding="utf-8")
    for name in ("init", "config"):
        (words,) = [words for words in commands_of(page) if words[0] == name]
        assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    project = load_project_file(Path("street.yaml"))
    shown, changed = (yaml.safe_load(block) for block in re.findall(r"(?ms)^```yaml\n(.*?)^```$", page))
    assert list(project.detection.classes) == list(shown["detection"]["classes"])
    assert [prompt.text for prompt in project.filtering.positive] == shown["filtering"]["positive"]
    assert project.releasing.confidence_threshold == shown["releasing"]["confidence_threshold"]
    written = yaml.safe_load(Path("street.yaml").read_text(encoding="utf-8"))
    for section, values in changed.items():
        written[section] |= values
    Path("street.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    assert load_project_file(Path("street.yaml")).releasing.unsure == "ignore_regions"


def test_tutorial__its_code_reads_a_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    release = tmp_path / "mined" / "releases" / "street" / "v002"
    write_pictures(release)
    with StoredPictures(ExtractionConfig()) as pictures:
        for name in ("coco", "parquet"):
            write_format(EXPORT_FORMATS[name], Destination(release, HEADER, release, pictures), JUDGED_IMAGES)
    (block,) = re.findall(r"(?ms)^```python\n(.*?)^```$", TUTORIAL.read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, str(TUTORIAL), "exec"), names)
    assert "3 images to train with" in capsys.readouterr().out
    assert names["labels"]["class_name"].value_counts().to_dict() == {"person": 2, "bicycle": 2}
