"""The wording of messages about frames that are waiting for review: how many there are, and what a user can do."""

from typing import Final

from data_miner_dagster.domain.phrases import counted

WAITING: Final = "waiting for review (an unsure box)"
"""The reason to show for a frame that is waiting for review."""
MANY_WAITING: Final = 0.2
"""If more than this fraction of the frames is waiting, the remedy is shown."""


def waiting_line(num_waiting: int, num_looked_at: int) -> str:
    """Return a clause that states how many of the `num_looked_at` examined frames are waiting for review."""
    share = f" ({num_waiting / num_looked_at:.0%})" if num_looked_at else ""
    verb = "is" if num_waiting == 1 else "are"
    frames = counted(num_looked_at, "frame")
    return f"{num_waiting:,} of {frames}{share} {verb} waiting for review because of an unsure box"


def waiting_remedy(project: str) -> str:
    """Return the remedy for frames that are waiting for review. It is shown after `waiting_line` and a colon."""
    return (
        f"review them (`data-miner review {project}`), raise `releasing.unsure_from`, or set `releasing.unsure` to "
        "`ignore_regions` or `as_negative`"
    )


def waiting_warning(project: str, num_waiting: int, num_looked_at: int) -> str | None:
    """Return a warning with the remedy, or None if at most `MANY_WAITING` of the examined frames are waiting."""
    if num_waiting <= MANY_WAITING * num_looked_at:
        return None
    return f"{waiting_line(num_waiting, num_looked_at)}: {waiting_remedy(project)}"
