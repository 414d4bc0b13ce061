"""Test alerts sent to real servers on loopback, a webhook and a mail server, that the settings refer to."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import update

from data_miner_dagster.catalog.alerts import count_messages, find_alerts, settle_alerts, take_message
from data_miner_dagster.catalog.gates import close_gate, open_gate
from data_miner_dagster.catalog.work_tables import AlertMessageRow
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.alerts import AlertKind, Trouble
from data_miner_dagster.domain.errors import ConfigError, TransientError
from data_miner_dagster.domain.work import FailureKind, WorkStage
from data_miner_dagster.operations.alerting.sending import Watch, send, send_due
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.end_to_end.platform_process import free_port
from data_miner_dagster_tests.support.webhook import Webhook, serving_webhook

BROKEN = Trouble(AlertKind.PROJECT_FAILED, "street", "detection: a table is out of date")


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with serving_webhook() as hook:
        yield hook


def platform_with(tmp_path: Path, *targets: str, **settings: object) -> Platform:
    alerts = {"targets": targets, "timeout_seconds": 20, "min_free_bytes": 0, "stage_closed_minutes": 0, **settings}
    return Platform(PlatformConfig.model_validate({"alerts": alerts}), tmp_path / "root")


@pytest.fixture
def told(webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Return a platform that sends its alerts to the webhook."""
    monkeypatch.setenv("HOOK", f"json://somebody:s3cret-word@127.0.0.1:{webhook.port}/hook")
    return platform_with(tmp_path, "env:HOOK")


def test_watch__tells_once_that_it_begins_and_once_that_it_is_over(told: Platform, webhook: Webhook) -> None:
    watch = Watch(told)
    assert watch.look() == []
    with told.database.transaction() as session:
        close_gate(session, WorkStage.EMBEDDING, FailureKind.MODEL, "no weights of <b>lite</b>, see http://x.example/")
    assert watch.look() == ["The stage embedding is closed"]
    watch.wait(60)
    assert watch.look() == []
    watch.wait(60)
    with told.database.transaction() as session:
        open_gate(session, WorkStage.EMBEDDING)
    assert watch.look() == ["The stage embedding is closed (resolved)"]
    watch.wait(60)
    first, second = webhook.told
    assert (first["title"], first["type"]) == ("data-miner: The stage embedding is closed", "failure")
    assert first["message"].startswith(
        "no weights of ‹b›lite‹/b›, see http: //x.example/; the stage is probed automatically"
    )
    assert (second["title"], second["type"]) == ("data-miner: The stage embedding is closed (resolved)", "success")
    with told.database.reading() as session:
        assert (find_alerts(session), count_messages(session)) == ([], 0)


def test_settle_alerts__waits_until_it_has_lasted_and_says_nothing_of_what_nobody_was_told(told: Platform) -> None:
    short = Trouble(AlertKind.STALLED, "", "nothing is being done", after=timedelta(hours=1))
    assert settle_alerts(told.database, [short], ["env:HOOK"]) == []
    with told.database.reading() as session:
        (row,) = find_alerts(session)
        assert (row.told_at, count_messages(session)) == (None, 0)
    assert settle_alerts(told.database, [], ["env:HOOK"]) == []
    lasting = Trouble(
        AlertKind.STALLED, "", "nothing is being done", row.since - timedelta(hours=2), timedelta(hours=1)
    )
    assert settle_alerts(told.database, [lasting], ["env:HOOK", "env:OTHER"]) == [
        "Work is due, but nothing is being done"
    ]
    with told.database.reading() as session:
        assert count_messages(session) == 2


def test_settle_alerts__another_line_of_an_alert_is_shown_and_ends_with_it_but_is_not_sent_again(
    told: Platform, webhook: Webhook
) -> None:
    settle_alerts(told.database, [BROKEN], ["env:HOOK"])
    later = replace(BROKEN, line="release: the disk is full")
    assert settle_alerts(told.database, [later], ["env:HOOK"]) == []
    with told.database.reading() as session:
        (row,) = find_alerts(session)
        assert (row.line, count_messages(session)) == (later.line, 1)
    settle_alerts(told.database, [], ["env:HOOK"])
    assert send_due(told) == 2
    assert [body["message"].partition(" (")[0] for body in webhook.told] == [BROKEN.line, later.line]


@pytest.mark.usefixtures("told")
def test_send_due__a_target_that_fails_is_tried_again_and_holds_up_no_other(
    webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections but never answers
        monkeypatch.setenv("SILENT", f"json://127.0.0.1:{silent.getsockname()[1]}/")
        platform = platform_with(tmp_path, "env:SILENT", "file:/missing/url", "env:HOOK", timeout_seconds=2)
        settle_alerts(platform.database, [BROKEN], platform.config.alerts.targets)
        assert send_due(platform) == 1
    assert [body["title"] for body in webhook.told] == ["data-miner: Project street has failed"]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("data_miner_dagster")]
    assert sorted(line.partition(": ")[2].split(" ")[0] for line in ours) == ["/missing/url", "env:SILENT"]
    assert "s3cret-word" not in caplog.text
    with platform.database.reading() as session:
        assert count_messages(session) == 2
    assert take_message(platform.database, platform.config.alerts.targets) is None  # not due yet
    assert take_message(platform.database, ["env:HOOK"]) is None
    with platform.database.reading() as session:
        assert count_messages(session) == 0  # these targets are no longer configured


def test_send_due__what_is_about_one_thing_is_told_in_its_order(told: Platform, webhook: Webhook) -> None:
    webhook.status = 500
    other = Trouble(AlertKind.PROJECT_FAILED, "trams", "detection: a table is out of date")
    settle_alerts(told.database, [BROKEN], ["env:HOOK"])
    assert send_due(told) == 0  # the next attempt is due in half a minute
    webhook.status = 200
    for found in ([other], [BROKEN, other]):  # the trouble ends and then returns
        settle_alerts(told.database, found, ["env:HOOK"])
    assert send_due(told) == 1
    with told.database.transaction() as session:
        session.execute(update(AlertMessageRow).values(due_at=AlertMessageRow.created_at))
    assert send_due(told) == 3
    assert [body["title"].removeprefix("data-miner: ") for body in webhook.told] == [
        "Project trams has failed",
        "Project street has failed",
        "Project street has failed (resolved)",
        "Project street has failed",
    ]


def test_take_message__one_that_is_being_sent_is_not_taken_again(told: Platform) -> None:
    settle_alerts(told.database, [BROKEN], ["env:HOOK"])
    assert take_message(told.database, ["env:HOOK"]) is not None
    assert take_message(told.database, ["env:HOOK"]) is None


@pytest.mark.usefixtures("told")
def test_send__says_why_it_was_refused_without_the_address(webhook: Webhook) -> None:
    webhook.status = 500
    with pytest.raises(TransientError, match=r"env:HOOK could not be notified \(.*\); check the") as refused:
        send("env:HOOK", "title", "line", is_over=False, timeout_seconds=20)
    assert "500" in str(refused.value)
    assert "s3cret-word" not in str(refused.value)


def test_send__what_is_no_address(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("no address s3cret-word")
    with pytest.raises(ConfigError, match="is not an Apprise URL") as refused:
        send(f"file:{tmp_path / 'url'}", "title", "line", is_over=False, timeout_seconds=1)
    assert "s3cret-word" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"NOT_THERE is not set or is empty, but platform\.alerts refers to it"):
        send("env:NOT_THERE", "title", "line", is_over=False, timeout_seconds=1)


class Mailbox:
    """Stores the messages that a mail server receives."""

    def __init__(self) -> None:
        self.letters: list[bytes] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
        self.letters.append(envelope.content)
        return "250 taken"


def test_send__by_mail(tmp_path: Path) -> None:
    box = Mailbox()
    port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port, ready_timeout=120)
    controller.start()
    try:
        (tmp_path / "url").write_text(f"mailto://127.0.0.1:{port}?from=miner@example.org&to=you@example.org\n")
        send(f"file:{tmp_path / 'url'}", "data-miner: test", "a <b> c", is_over=True, timeout_seconds=20)
    finally:
        controller.stop()
    (letter,) = [message_from_bytes(content) for content in box.letters]
    assert letter["Subject"] == "data-miner: test"
    assert "you@example.org" in letter["To"]
    texts = [part.get_payload(decode=True) for part in letter.walk() if not part.is_multipart()]
    shown = b"".join(text for text in texts if isinstance(text, bytes)).decode()
    assert "a &lt;b&gt; c" in shown or "a <b> c" in shown
    assert not any(part.get_content_type() == "text/html" and b"<b>" in bytes(part) for part in letter.walk())
