"""Test login links and sessions, which are stored as files."""

import os
import stat
import threading
from pathlib import Path

import pytest

from data_miner_dagster.storage.layout import StorageLayout
from data_miner_dagster.web.review import access as module
from data_miner_dagster.web.review.access import Access, reviewer_name


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(StorageLayout(tmp_path))


def test_log_in__a_link_works_once(access: Access) -> None:
    secret = access.new_link_secret("anna")
    session = access.log_in(secret)
    assert session is not None
    assert session.who == "anna"
    assert access.log_in(secret) is None
    assert access.session(session.secret) == session


def test_log_in__of_many_at_once_one_gets_in(access: Access) -> None:
    secret = access.new_link_secret("anna")
    found: list[object] = []
    gate = threading.Barrier(8)

    def visit() -> None:
        gate.wait()
        found.append(access.log_in(secret))

    visitors = [threading.Thread(target=visit) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert sum(session is not None for session in found) == 1


def test_log_in__unknown_or_old(access: Access, tmp_path: Path) -> None:
    assert access.log_in("") is None
    assert access.log_in("../../catalog.sqlite") is None
    secret = access.new_link_secret("anna")
    (link,) = (tmp_path / "review_access").glob("link-*")
    os.utime(link, (0, 0))
    assert access.log_in(secret) is None


def test_session__ends(access: Access, tmp_path: Path) -> None:
    session = access.log_in(access.new_link_secret("anna"))
    assert session is not None
    access.rename(session, "Anna B.")
    renamed = access.session(session.secret)
    assert renamed is not None
    assert renamed.who == "Anna B."
    (file,) = (tmp_path / "review_access").glob("session-*")
    os.utime(file, (0, 0))
    assert access.session(session.secret) is None
    access.new_link_secret("bob")  # removes expired sessions
    assert not file.exists()


def test_access__keeps_checksums_for_its_owner_alone(access: Access, tmp_path: Path) -> None:
    secret = access.new_link_secret("anna")
    session = access.log_in(secret)
    assert session is not None
    other = access.new_link_secret("bob")
    folder = tmp_path / "review_access"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for kept in (secret, other, session.secret):
        assert all(kept not in file.name and kept not in file.read_text() for file in folder.iterdir())


def test_leading_file__leads_to_the_link(access: Access) -> None:
    page = access.leading_file("http://127.0.0.1:1/login#a%20/projects/p?x&y")
    assert 'url=http://127.0.0.1:1/login#a%20/projects/p?x&amp;y"' in page.read_text()


def test_reviewer_name__is_one_line_that_can_be_shown() -> None:
    assert reviewer_name(" Anna\n\u202eB. ") == "Anna B."
    assert reviewer_name("\u200b") is None
    assert reviewer_name(None) is None
    name = reviewer_name("x" * 1000)
    assert name is not None
    assert len(name) == module.MAX_NAME_LENGTH
