"""Alerts: the kinds of trouble that people are notified about, and the record of one occurrence."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class AlertKind(StrEnum):
    """The kind of trouble. Values are stored."""

    PROJECT_FAILED = "project_failed"
    STAGE_CLOSED = "stage_closed"
    SITE_CLOSED = "site_closed"
    DISK_SHORT = "disk_short"
    QUOTA_SHORT = "quota_short"
    STALLED = "stalled"

    def words(self, subject: str) -> str:
        """Return a title for this trouble, which may name `subject`: a project, a stage, or a site (`*` for all)."""
        match self:
            case AlertKind.PROJECT_FAILED:
                return f"Project {subject} has failed"
            case AlertKind.STAGE_CLOSED:
                return f"The stage {subject} is closed"
            case AlertKind.SITE_CLOSED:
                return "Requests to all sites are paused" if subject == "*" else f"Requests to {subject} are paused"
            case AlertKind.DISK_SHORT:
                return "The disk is almost full"
            case AlertKind.QUOTA_SHORT:
                return "Downloads are waiting for disk space"
            case AlertKind.STALLED:
                return "Work is due, but nothing is being done"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong at present. An alert is sent once the trouble has lasted for the time `after`."""

    kind: AlertKind
    subject: str
    """The name of the project or stage, the site (`*` for all sites), or "" if the kind has no subject."""
    line: str
    """The problem and the remedy, for people."""
    since: datetime | None = None
    """When the trouble began, or None to count from its first observation."""
    after: timedelta = timedelta()
    """How long the trouble must last before an alert is sent."""
