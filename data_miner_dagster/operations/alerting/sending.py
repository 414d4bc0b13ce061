"""Send messages to each target independently: if one fails, it is retried, and the others are still notified.

References to targets in the settings are resolved for each message, and their values are never shown.
"""

import logging
import threading
from contextlib import suppress
from functools import lru_cache
from typing import Final

from data_miner_dagster.catalog.alerts import end_message, settle_alerts, take_message
from data_miner_dagster.catalog.failures import DATABASE_ERROR
from data_miner_dagster.domain.at_work import inheriting_thread
from data_miner_dagster.domain.errors import ConfigError, DataMinerError, TransientError
from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.operations.alerting.conditions import find_troubles
from data_miner_dagster.operations.item_faults import attempt_extra
from data_miner_dagster.operations.logs import redacted
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.sites.references import resolve_reference

MISSING: Final = "alerts need the package `apprise`; install it with `pip install 'data-miner-dagster[alerts]'`"
_ASKER: Final = "platform.alerts"

logger = logging.getLogger(__name__)


def send(target: str, title: str, line: str, *, is_over: bool, timeout_seconds: float) -> None:
    """Send a message to one target.

    Args:
        target: `env:NAME` or `file:PATH`, where the Apprise URL is stored.
        title: the condition that has begun or ended.
        line: the details, as plain text.
        is_over: True if the condition has ended.
        timeout_seconds: the timeout for connecting, and separately for the response.

    Raises:
        ConfigError: Apprise is not installed, the reference cannot be resolved, or its value is not an Apprise URL.
        TransientError: the target cannot be reached, or refuses the message.
    """
    try:
        import apprise
    except ModuleNotFoundError:
        raise ConfigError(MISSING) from None
    url = resolve_reference(target, asker=_ASKER)
    asset = apprise.AppriseAsset(app_id="data-miner", async_mode=False, secure_logging=True)
    notifier = apprise.Apprise.instantiate(url, asset=asset)
    if not isinstance(notifier, apprise.NotifyBase):
        raise ConfigError(f"{_ASKER}: the value of {target} is not an Apprise URL; use one such as jsons://host/path")
    notifier.socket_connect_timeout = notifier.socket_read_timeout = timeout_seconds
    kind = apprise.NotifyType.SUCCESS if is_over else apprise.NotifyType.FAILURE
    with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as words:
        is_sent = notifier.notify(body=line, title=title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT)
        why = clean_text(redacted(words.getvalue()), 300) or "no reason was given"
    if not is_sent:
        raise TransientError(f"{target} could not be notified ({why}); check the Apprise URL that it stores")


def send_due(platform: Platform) -> int:
    """Send each due message to its target. Return the number of messages that the targets accepted.

    If a target does not accept a message, a warning is logged, and the message becomes due again after a back-off,
    until it is a day old.
    """
    config, num_sent = platform.config.alerts, 0
    while (message := take_message(platform.database, config.targets)) is not None:
        is_sent = False
        try:
            send(
                message.target,
                f"data-miner: {message.title}",
                f"{message.line} ({platform.root})",
                is_over=message.is_over,
                timeout_seconds=config.timeout_seconds,
            )
            is_sent = True
            num_sent += 1
        except DataMinerError as error:
            logger.warning("alert %r: %s; the message will be sent again", message.title, error)
        finally:
            with suppress(DATABASE_ERROR, DataMinerError):  # if this fails, the message becomes due again
                end_message(platform.database, message, is_sent=is_sent)
    return num_sent


class Watch:
    """Checks one platform for alerts. Messages are sent in a thread, so no target delays the planner."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._thread: threading.Thread | None = None

    def look(self) -> list[str]:
        """Update the stored alerts, and start a thread that sends all due messages unless one is still sending.

        Return the titles of the messages that this call has queued: about alerts that have now lasted long enough to be
        sent, and about sent alerts that are over.
        """
        targets = self._platform.config.alerts.targets
        told = settle_alerts(self._platform.database, find_troubles(self._platform), targets)
        if self._thread is None or not self._thread.is_alive():
            self._thread = inheriting_thread(self._tell, name="alerts")
            self._thread.start()
        return told

    def wait(self, seconds: float) -> None:
        """Wait at most `seconds` for messages that are being sent."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _tell(self) -> None:
        attempt_extra("alerts", "messages", lambda: send_due(self._platform))


@lru_cache(maxsize=4)
def watch_of(platform: Platform) -> Watch:
    """Return the `Watch` of a platform, which the whole process shares."""
    return Watch(platform)
