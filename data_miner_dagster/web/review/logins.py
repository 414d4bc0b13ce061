"""The routes for logging in with a one-time link, changing the visitor's name, and logging out.

The secret of a link follows `#`, so browsers do not send it; the login page's script posts it. Merely opening an
address therefore changes nothing, and no log or history contains the secret.
"""

import hashlib
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.web.review.access import MAX_NAME_LENGTH, Access, Session, reviewer_name
from data_miner_dagster.web.review.gate import set_cookie
from data_miner_dagster.web.review.requests import json_of
from data_miner_dagster.web.review.templating import page


def root_identity(root: Path) -> str:
    """Return an identifier by which a command recognizes a server of the same root. It is not secret."""
    return hashlib.sha256(str(root.resolve()).encode(errors="surrogateescape")).hexdigest()


class LoginEndpoints:
    """The routes for the visitor's session, and for the identity of the root."""

    def __init__(self, access: Access, *, root: Path, port: int) -> None:
        self._access = access
        self._identity = root_identity(root)
        self._port = port

    def login_page(self, _request: Request) -> Response:
        """Return the login page, whose script posts the secret of the link."""
        return page("login.html.j2", {}, who=None)

    async def log_in(self, request: Request) -> Response:
        """Exchange a link's secret for a session cookie. Respond with 403 if the link is unknown, used or expired.

        Raises:
            ConfigError: the request is too large, or is not a JSON object.
        """
        secret = (await json_of(request)).get("secret")
        session = await run_in_threadpool(self._access.log_in, secret) if isinstance(secret, str) else None
        if session is None:
            return JSONResponse(
                {"error": "this link is unknown, used or expired; run `data-miner review PROJECT` for a new one"},
                403,
            )
        answer = JSONResponse({"who": session.who})
        set_cookie(answer, self._port, session)
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the visitor's session."""
        session: Session = request.scope["session"]
        await run_in_threadpool(self._access.log_out, session)
        answer = JSONResponse({})
        set_cookie(answer, self._port, None)
        return answer

    async def rename(self, request: Request) -> Response:
        """Change the visitor's name.

        Raises:
            ConfigError: the request is too large or is not a JSON object, or the name has no printable characters.
        """
        who = reviewer_name((await json_of(request)).get("who"))
        if who is None:
            raise ConfigError(f"the name has no printable characters; use 1 to {MAX_NAME_LENGTH} of them")
        await run_in_threadpool(self._access.rename, request.scope["session"], who)
        return JSONResponse({"who": who})

    def session(self, request: Request) -> Response:
        """Return the visitor's name."""
        return JSONResponse({"who": request.scope["session"].who})

    def identity(self, _request: Request) -> Response:
        """Return the identifier of the root that is served."""
        return JSONResponse({"root": self._identity})
