"""Who may reach the web server, and where the review pages are."""

import os
from typing import Final

from pydantic import Field

from data_miner_dagster.config.base import ConfigModel
from data_miner_dagster.config.environment import REVIEW_PORT_VARIABLE

REVIEW_HOST: Final = "127.0.0.1"
"""The only address at which the review pages are served."""


class WebConfig(ConfigModel):
    """The `platform.web` section."""

    hosts: tuple[str, ...] = ()
    """Names by which a reverse proxy or another machine reaches the web server, such as `miner.example.org`. It answers
    only to these, to localhost and to its listening address, and accepts changes only from their pages."""
    review_port: int = Field(3001, ge=1, le=65535)
    """The port of the review pages, on loopback. `data-miner up --review-port` overrides it."""


def review_address(config: WebConfig) -> str:
    """Return the address of the review pages: at the port that a running `data-miner up` uses, or else the setting."""
    return f"http://{REVIEW_HOST}:{os.environ.get(REVIEW_PORT_VARIABLE) or config.review_port}"
