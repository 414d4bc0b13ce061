"""Name the generated files under docs/ that are checked in. A test checks that each is up to date."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from data_miner_dagster.config.reference import reference_text
from documentation.asset_graph import asset_graph
from documentation.troubleshooting import troubleshooting_page

REPOSITORY: Final = Path(__file__).parents[1]
GENERATED: Final[Mapping[str, Callable[[], str]]] = {
    "docs/configuration.md": reference_text,
    "docs/images/assets.svg": asset_graph,
    "docs/troubleshooting.md": troubleshooting_page,
}
"""The function that generates each file, by its path in the repository."""
