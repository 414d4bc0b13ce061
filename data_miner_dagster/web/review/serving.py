"""The server of the review pages on loopback, and login links to it."""

import http.client
import json
import logging
import socket
from contextlib import closing
from typing import Final

import uvicorn

from data_miner_dagster.config.web import REVIEW_HOST
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.root_lock import noted_review_port
from data_miner_dagster.web.review.access import Access
from data_miner_dagster.web.review.application import review_application
from data_miner_dagster.web.review.desk import OpenDesk
from data_miner_dagster.web.review.gate import IDENTITY, LOGIN_PAGE
from data_miner_dagster.web.review.logins import root_identity

_ASK_SECONDS: Final = 2.0


def access_of(platform: Platform) -> Access:
    """Return the object that manages the login links and sessions of a root."""
    return Access(platform.layout)


def login_link(platform: Platform, port: int, who: str, page: str = "/") -> str:
    """Create a login link for one visitor, and return its URL, which leads to the path `page` on the server."""
    return f"http://{REVIEW_HOST}:{port}{LOGIN_PAGE}#{access_of(platform).new_link_secret(who)}%20{page}"


def is_served(platform: Platform, port: int) -> bool:
    """Return whether this root's review pages are already served on a port, for example by `data-miner up`."""
    connection = http.client.HTTPConnection(REVIEW_HOST, port, timeout=_ASK_SECONDS)
    try:
        with closing(connection):
            connection.request("GET", IDENTITY)
            told = json.loads(connection.getresponse().read(1000))
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return isinstance(told, dict) and told.get("root") == root_identity(platform.root)


def port_of_up(platform: Platform) -> int | None:
    """Return the port at which a running `data-miner up` serves this root's review pages, or None if none does."""
    port = noted_review_port(platform.layout.up_lock)
    return port if port is not None and is_served(platform, port) else None


def listening(port: int, host: str = REVIEW_HOST) -> socket.socket:
    """Return a socket that listens on a port, for a server that has not started yet.

    Raises:
        OSError: the port is in use, or the address cannot be used.
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
    """Return a web server that is not started yet. It logs no requests, since answers do not belong in a log.

    Uvicorn's own messages below level WARNING are turned off in this process.
    """
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
