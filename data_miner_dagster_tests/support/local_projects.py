"""A platform on a temporary root, and a project in it, for the tests of sourcing and downloading."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_miner_dagster.catalog.projects import save_snapshot
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.platform import Platform

POLITENESS_OFF: Mapping[str, object] = {
    "try_delay_seconds": 0.01,
    "politeness": {"min_sleep_seconds": 0, "max_sleep_seconds": 0, "hourly_budget": None, "daily_budget": None},
    "allowed_private_hosts": ("127.0.0.1",),
}


def make_platform(root: Path, *, models: ModelProvider | None = None, **downloading: object) -> Platform:
    """Return a platform that may connect to 127.0.0.1 and does not pause between requests."""
    config = PlatformConfig.model_validate({"downloading": {**POLITENESS_OFF, **downloading}})
    return Platform(config, root, models=models)


def add_project(
    platform: Platform,
    sources: Sequence[Mapping[str, Any]],
    *,
    name: str = "p",
    config_file: Path | None = None,
    filtering: Mapping[str, Any] | None = None,
    **sourcing: Any,
) -> str:
    """Save a project with these sources, as `populate` would, and return its name."""
    config = ProjectConfig.model_validate(
        {
            "name": name,
            "sourcing": {"sources": list(sources), **sourcing},
            "filtering": filtering or {"positive": ["a car"]},
            "detection": {"classes": {"car": []}},
        }
    ).model_dump(mode="json")
    save_snapshot(platform.database, name, config, fingerprint_of(config), str(config_file) if config_file else None)
    return name
