"""Settings for the host names that the web server answers to, and for the port of the review pages."""

import os
from typing import Final

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.environment import REVIEW_PORT_VARIABLE

REVIEW_HOST: Final = "127.0.0.1"
"""The only address at which the review pages are served."""
REVIEW_LINKS: Final = "/review"
"""The path below which Dagster's web server links to the review pages, whatever their port (web/review_links.py)."""


class WebConfig(ConfigModel):
    """The `platform.web` section."""

    hosts: tuple[str, ...] = ()
    """Host names under which a reverse proxy or another machine reaches the web server, such as `miner.example.org`.
    The server answers only to these names, to localhost and to its listening address. It accepts changes only from
    their pages."""
    review_port: int = Field(3001, ge=1, le=65535)
    """The loopback port of the review pages. `data-miner up --review-port` overrides it."""


def review_address(config: WebConfig) -> str:
    """Return the URL of the review pages.

    A process that `data-miner up` started uses the port of that `up`. Any other process uses the configured port.
    """
    return f"http://{REVIEW_HOST}:{os.environ.get(REVIEW_PORT_VARIABLE) or config.review_port}"
