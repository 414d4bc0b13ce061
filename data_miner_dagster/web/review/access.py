"""Access to the review pages: one-time login links, and the sessions that they start.

Links and sessions are files in one private folder under the root, named by the sha256 of their secret. Commands that
print links and servers that accept them therefore need no connection, a restarted server still knows its visitors, and
reading the folder reveals no secret. Using a link removes its file, which only one visitor can do.
"""

import hashlib
import html
import json
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.storage.atomic import write_json
from data_miner_dagster.storage.layout import StorageLayout

LINK_SECONDS: Final = 24 * 3600.0
SESSION_SECONDS: Final = 30 * 24 * 3600.0
MAX_NAME_LENGTH: Final = 80
_SECRET_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a visitor who has opened a login link. `who` is stored as the author of the visitor's answers."""

    secret: str = field(repr=False)
    who: str


def reviewer_name(text: object) -> str | None:
    """Return a reviewer's name in its stored form, on one line and cut to `MAX_NAME_LENGTH` characters.

    The result is None if `text` is not a string or number, or has no printable characters.
    """
    return clean_text(text, MAX_NAME_LENGTH)


class Access:
    """The login links and sessions of one root.

    Args:
        layout: the layout of the root. The private folder is created when the first link is created.
    """

    def __init__(self, layout: StorageLayout) -> None:
        self._layout = layout
        self._folder = layout.review_access

    def new_link_secret(self, who: str) -> str:
        """Create a login link, and return its secret. Expired links, sessions and local pages are removed first.

        The person who opens the link is called `who` until they choose another name.
        """
        self._remove_expired()
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        self._write(self._layout.login_link_file(_digest(secret)), who)
        return secret

    def leading_file(self, link: str) -> Path:
        """Create a private page on disk that redirects to a link, and return its path."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._layout.leading_page(secrets.token_hex(8))
        address = html.escape(link)
        file.write_text(
            f'<meta http-equiv="refresh" content="0; url={address}"><a href="{address}">Review</a>', "utf-8"
        )
        return file

    def log_in(self, link_secret: str) -> Session | None:
        """Use up a link and return a new session, or return None if the link is unknown, used or expired."""
        file = self._layout.login_link_file(_digest(link_secret))
        stored = self._read(file, LINK_SECONDS)
        try:
            file.unlink()
        except FileNotFoundError:
            return None  # never created, or another visitor was faster
        if stored is None:
            return None
        session = Session(secrets.token_urlsafe(_SECRET_BYTES), stored["who"])
        self._write(self._layout.session_file(_digest(session.secret)), session.who)
        return session

    def session(self, secret: str) -> Session | None:
        """Return the session that a cookie's secret belongs to, or None if it does not exist or has expired."""
        stored = self._read(self._layout.session_file(_digest(secret)), SESSION_SECONDS)
        return None if stored is None else Session(secret, stored["who"])

    def rename(self, session: Session, who: str) -> None:
        """Change the name of a session's visitor. The time until the session expires starts again."""
        self._write(self._layout.session_file(_digest(session.secret)), who)

    def log_out(self, session: Session) -> None:
        """End a session."""
        self._layout.session_file(_digest(session.secret)).unlink(missing_ok=True)

    def _write(self, file: Path, who: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(file, {"who": who})

    def _read(self, file: Path, max_age_seconds: float) -> Mapping[str, str] | None:
        try:
            is_expired = time.time() - file.stat().st_mtime > max_age_seconds
            stored = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return None if is_expired or not isinstance(stored, dict) or not isinstance(stored.get("who"), str) else stored

    def _remove_expired(self) -> None:
        sessions = self._layout.session_file("x").name.removesuffix("x")
        for file in self._folder.iterdir() if self._folder.is_dir() else ():
            seconds = SESSION_SECONDS if file.name.startswith(sessions) else LINK_SECONDS
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > seconds:
                    file.unlink()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
