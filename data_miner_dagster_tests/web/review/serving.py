"""The review pages of a planted project, served on a real socket, and a client that needs no browser."""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.web.review.desk import project_desks
from data_miner_dagster.web.review.serving import access_of, listening, login_link, review_server

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class ReviewSite:
    """A running server for the review pages, and a client for it."""

    platform: Platform
    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def link(self, who: str = "anna", page: str = "/") -> str:
        return login_link(self.platform, self.port, who, page)

    def ask(self, path: str, *, method: str = "GET", body: object = None, **headers: str) -> Answer:
        """Send a request, with a cookie only if `headers` has one; `_` in header names stands for `-`."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, content, named)
            response = connection.getresponse()
            return Answer(response.status, {n.lower(): v for n, v in response.getheaders()}, response.read())

    def log_in(self, secret: str) -> Answer:
        """Post the secret of a login link, as the login page does."""
        return self.ask("/api/login", method="POST", body={"secret": secret}, **JSON)

    def cookie(self, who: str = "anna") -> str:
        """Log in as a new visitor, and return the session cookie."""
        answer = self.log_in(access_of(self.platform).new_link_secret(who))
        return answer.headers["set-cookie"].partition(";")[0]


@contextmanager
def served(platform: Platform) -> Iterator[ReviewSite]:
    """Serve the review pages of a platform until the block ends."""
    with listening(0) as opened:
        port = opened.getsockname()[1]
        server = review_server(platform, project_desks(platform), port)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            yield ReviewSite(platform, port)
        finally:
            server.should_exit = True
            thread.join()
