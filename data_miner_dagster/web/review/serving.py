"""Serving the review pages on loopback, and the links that lead to them."""

import http.client
import json
import logging
import socket
from contextlib import closing
from typing import Final

import uvicorn

from data_miner_dagster.config.web import REVIEW_HOST
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.web.review.access import Access
from data_miner_dagster.web.review.application import review_application
from data_miner_dagster.web.review.desk import OpenDesk
from data_miner_dagster.web.review.gate import IDENTITY, LOGIN_PAGE
from data_miner_dagster.web.review.logins import root_identity

_ASK_SECONDS: Final = 2.0


def access_of(platform: Platform) -> Access:
    """Return the links and sessions of a root."""
    return Access(platform.layout)


def login_link(platform: Platform, port: int, who: str, page: str = "/") -> str:
    """Return a new link that logs one visitor in and leads to a page."""
    return f"http://{REVIEW_HOST}:{port}{LOGIN_PAGE}#{access_of(platform).new_link_secret(who)}%20{page}"


def is_served(platform: Platform, port: int) -> bool:
    """Return whether the review pages of this root are already served on a port, for instance by `data-miner up`."""
    connection = http.client.HTTPConnection(REVIEW_HOST, port, timeout=_ASK_SECONDS)
    try:
        with closing(connection):
            connection.request("GET", IDENTITY)
            told = json.loads(connection.getresponse().read(1000))
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return isinstance(told, dict) and told.get("root") == root_identity(platform.root)


def listening(port: int, host: str = REVIEW_HOST) -> socket.socket:
    """Return a listening socket, before the server has started.

    Raises:
        OSError: the port is in use.
    """
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((host, port))
        opened.listen()
    except OSError:
        opened.close()
        raise
    return opened


def review_server(platform: Platform, open_desk: OpenDesk, port: int) -> uvicorn.Server:
    """Return a server that is not started yet. It logs no requests, since answers do not belong in a log."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    application = review_application(platform, access_of(platform), open_desk, port=port)
    return uvicorn.Server(
        uvicorn.Config(
            application,
            host=REVIEW_HOST,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
            ws="none",
        )
    )
