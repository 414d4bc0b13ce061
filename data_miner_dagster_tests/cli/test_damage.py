"""Errors that a damaged database explains."""

import enum
from pathlib import Path

import pytest
from sqlalchemy import Enum, create_engine, literal_column, select

from data_miner_dagster.cli.damage import damage_behind
from data_miner_dagster.config.environment import ROOT_VARIABLE
from data_miner_dagster_tests.support.sample_project import build_project


class Word(enum.Enum):
    """An enumeration with a single valid word."""

    KNOWN = "KNOWN"


def _error() -> LookupError:
    """Return the error that SQLAlchemy raises for an unknown word."""
    with create_engine("sqlite://").connect() as connection, pytest.raises(LookupError) as raised:
        connection.execute(select(literal_column("'UNKNOWN'", Enum(Word)))).all()
    return raised.value


def test_damage_behind__an_unknown_word_in_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = build_project(tmp_path, videos=(), through="sourcing")
    monkeypatch.setenv(ROOT_VARIABLE, str(platform.root))
    line = damage_behind(_error())
    assert line is not None
    assert line.startswith(f"the catalog {platform.layout.catalog_file} is damaged (LookupError: ")
    assert "people's verdicts" in line


def test_damage_behind__a_catalog_on_a_server_has_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "root"))
    monkeypatch.setenv("DATA_MINER_CATALOG_URL", "postgresql+psycopg2://user@127.0.0.1:1/catalog")
    assert damage_behind(_error()) is None
