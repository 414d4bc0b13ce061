"""Examine the catalog and the free space on the root's disk for conditions that need a person's attention."""

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from data_miner_dagster.catalog.attempts import last_failures
from data_miner_dagster.catalog.database import Session
from data_miner_dagster.catalog.gates import closed_stages
from data_miner_dagster.catalog.gauges import last_progress, paused_stages, since_waiting_for_room, waiting_work
from data_miner_dagster.catalog.politeness import EVERY_SITE, closed_gates
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.config.monitoring import AlertsConfig
from data_miner_dagster.domain.alerts import AlertKind, Trouble
from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.domain.statuses import ProjectStage
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.operations.logs import redacted
from data_miner_dagster.operations.platform import Platform

_MAX_LINE: Final = 600
_UNMARKED: Final = str.maketrans(
    {"<": "‹", ">": "›", "[": "(", "]": ")", "`": "'", "*": "·", "_": "＿", "@": "＠", "~": "-"}
)
"""Replacements for characters that chats and mail programs would treat as markup, a link or a mention."""


def find_troubles(platform: Platform) -> list[Trouble]:
    """Return all conditions that need attention now, including those that have not lasted long enough for a message."""
    config = platform.config.alerts
    with platform.database.reading() as session:
        now = platform.database.now(session)
        found = [*_of_stages(session, config), *_of_room(session, config), *_stalled(session, config, now)]
    closing = timedelta(minutes=config.stage_closed_minutes)
    for gate in closed_gates(platform.database, now):
        line = f"{gate.site if gate.site != EVERY_SITE else 'every site'}: {gate.reason}; requests resume automatically"
        found.append(Trouble(AlertKind.SITE_CLOSED, gate.site, said(line), after=closing))
    return [*_failed_projects(platform), *found, *_short_disk(platform, config)]


def said(line: str) -> str:
    """Prepare a line for a message: remove secrets, shorten the line, and replace markup characters and links."""
    return (clean_text(redacted(line), _MAX_LINE) or "").replace("://", ": //").translate(_UNMARKED)


def _failed_projects(platform: Platform) -> Iterator[Trouble]:
    """Yield a `Trouble` for each project that has failed and will not be retried automatically."""
    failed = {row.name: row for row in find_projects(platform.database) if row.stage is ProjectStage.FAILED}
    with platform.database.reading() as session:
        goes_on = {row.item for row, due in last_failures(session, list(WorkStage), list(failed)) if due is not None}
    for name in sorted(failed.keys() - goes_on):
        line = f"{failed[name].error or 'no reason is recorded'}; `data-miner retry --project {name}` retries it"
        yield Trouble(AlertKind.PROJECT_FAILED, name, said(line), since=failed[name].updated_at)


def _of_stages(session: Session, config: AlertsConfig) -> Iterator[Trouble]:
    for gate in closed_stages(session):
        line = f"{gate.reason}; the stage is probed automatically, and nothing counts as a failure until it reopens"
        after = timedelta(minutes=config.stage_closed_minutes)
        yield Trouble(AlertKind.STAGE_CLOSED, gate.stage.value.lower(), said(line), gate.closed_at, after)


def _of_room(session: Session, config: AlertsConfig) -> Iterator[Trouble]:
    number, since = since_waiting_for_room(session)
    if number:
        line = (
            f"{counted(number, 'video')} {'does' if number == 1 else 'do'} not fit under the quota; "
            "`data-miner status` shows what uses the space, and `data-miner clean` frees some of it"
        )
        yield Trouble(AlertKind.QUOTA_SHORT, "", line, since, timedelta(minutes=config.stalled_minutes))


def _stalled(session: Session, config: AlertsConfig, now: datetime) -> Iterator[Trouble]:
    """Yield a `Trouble` if nothing was done for `stalled_minutes` although work is due and no gate or hold stops it."""
    held = paused_stages(session) | {gate.stage for gate in closed_stages(session)}
    waiting = {stage: work for stage, work in waiting_work(session, now).items() if work.num_due and stage not in held}
    since = [work.oldest_due for work in waiting.values() if work.oldest_due is not None]
    if not since:
        return
    progress = last_progress(session)
    idle_since = min(since) if progress is None else max(min(since), progress)
    what = ", ".join(f"{counted(work.num_due, 'item')} at {stage.value.lower()}" for stage, work in waiting.items())
    limit = timedelta(minutes=config.stalled_minutes)
    if now - idle_since >= limit:
        line = (
            f"work is due ({what}), but nothing has been done since {idle_since:%Y-%m-%d %H:%M} UTC; "
            "`data-miner status` shows details"
        )
        yield Trouble(AlertKind.STALLED, "", line, since=idle_since, after=limit)


def _short_disk(platform: Platform, config: AlertsConfig) -> Iterator[Trouble]:
    free = shutil.disk_usage(platform.root).free
    if free < config.min_free_bytes:
        line = (
            f"only {size_text(free)} is free under {platform.root}, less than platform.alerts.min_free_bytes "
            f"({size_text(config.min_free_bytes)}); `data-miner clean` removes files that can be recreated"
        )
        yield Trouble(AlertKind.DISK_SHORT, "", said(line))
