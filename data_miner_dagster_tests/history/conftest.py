import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Yield a Dagster instance on each storage in turn."""
    settings = {}
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        settings = {"storage": {"postgres": {"postgres_url": url}}}
    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text(json.dumps(settings))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance
