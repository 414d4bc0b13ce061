"""Test project files in the watched folder, parsed by a real worker process."""

import os
from pathlib import Path

import pytest

from data_miner_dagster.config.loading import load_project_file, parse_file
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.foreign import project_file_workers
from data_miner_dagster.operations.foreign.project_file_workers import ProjectFileWorkers

SOUND = """\
name: bikes
description: 'by ${oc.env:WATCHED_NAME}, ${sourcing.sources[0].type}, é'
sourcing: {sources: [{type: files, paths: [clips]}]}
filtering: {positive: [a bicycle], positive_threshold: 0.3}
detection: {classes: {zebra: [], bicycle: []}}
"""


def test_parse__says_what_parsing_here_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHED_NAME", "somebody")
    path = tmp_path / "bikes.yaml"
    path.write_text(SOUND, encoding="utf-8")
    with ProjectFileWorkers() as workers:
        file = load_project_file(path, parse=workers.parse)
        assert file == load_project_file(path)
        assert file.description == "by somebody, files, é"
        # the order matters, since a class's position is its id
        assert list(file.detection.classes) == ["zebra", "bicycle"]
        for text in ("12", "d: " + "[" * 100_000, "a: &a [*a]", "name: [x", "null: 1", "detection: {1: 2}"):
            path.write_text(text, encoding="utf-8")
            with pytest.raises(ConfigError) as here:
                load_project_file(path)
            with pytest.raises(ConfigError) as there:
                workers.parse(path)
            assert str(there.value).startswith(f"{path}: ")
            if "{1: 2}" not in text:
                assert str(there.value) == str(here.value)


def test_parse__names_a_value_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "bikes.yaml"
    path.write_text("description: !!binary aGk=\n", encoding="utf-8")
    with ProjectFileWorkers() as workers, pytest.raises(ConfigError) as refused:
        workers.parse(path)
    assert str(refused.value) == f"{path}: YAML reads a value as bytes (b'hi'); write it as text"


def test_parse__reads_again_what_changed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bikes.yaml"
    path.write_text(SOUND, encoding="utf-8")
    os.utime(path, (1, 1))
    with ProjectFileWorkers() as workers:
        content = workers.parse(path)
        assert content == parse_file(path)
    with ProjectFileWorkers() as workers:
        monkeypatch.setattr(workers._pool, "call", lambda *_, **__: pytest.fail("parsed again"))
        assert workers.parse(path) == content
    path.write_text(SOUND.replace("bikes", "trams"), encoding="utf-8")
    with ProjectFileWorkers() as workers:
        assert workers.parse(path)["name"] == "trams"
    # the file is too new to be remembered
    assert project_file_workers._remembered[path][1]["name"] == "bikes"
