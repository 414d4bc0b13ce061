"""Collect the values of all metrics.

Each part is collected separately. If a part cannot be collected, its metrics are missing, and the metric
`collection_failed` reports this.

Belongs here: assigning values to metrics. Does not belong here: SQL statements (catalog/), or the names of metrics
(families.py).
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from data_miner_dagster import __version__
from data_miner_dagster.catalog.alerts import find_alerts
from data_miner_dagster.catalog.attempts import count_failures
from data_miner_dagster.catalog.gates import closed_stages
from data_miner_dagster.catalog.gauges import (
    busiest_sites,
    items_in_flight,
    paused_stages,
    project_counts,
    video_counts,
    waiting_work,
)
from data_miner_dagster.catalog.leases import find_leases
from data_miner_dagster.catalog.measurements import spent_by_stage
from data_miner_dagster.catalog.politeness import closed_gates
from data_miner_dagster.catalog.projects import find_projects
from data_miner_dagster.domain.alerts import AlertKind
from data_miner_dagster.domain.work import WorkStage
from data_miner_dagster.jobs import stage_of_job
from data_miner_dagster.monitoring.families import FAMILIES
from data_miner_dagster.operations.item_faults import fault_of
from data_miner_dagster.operations.machine import disk_values, gpu_values
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.progress import standing_of

SHORTEST_LIFE: Final = 5.0
"""The minimum time in seconds for which collected values are served."""
_LIFE_TO_COST: Final = 20.0
"""Values are served for at least this multiple of the collection time, so monitoring uses at most 1/20 of a core."""
_STEPS: Final = {"frames": "seen", "filtered": "kept", "unique": "representatives", "released_images": "released"}
"""The label `step` of the metric `project_frames` for each of a project's counts."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Values:
    """The values of metrics, by name and labels."""

    by_name: dict[str, dict[tuple[str, ...], float]] = field(default_factory=dict)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set the value of the metric `name` for `labels`, which are in the order that the metric declares."""
        assert len(labels) == len(FAMILIES[name].labels), name
        self.by_name.setdefault(name, {})[labels] = value

    def add(self, others: "Values") -> None:
        """Add the values of another part. Both parts may have values of the same metric, for different labels."""
        for name, values in others.by_name.items():
            self.by_name.setdefault(name, {}).update(values)


Part = Callable[[Values], None]


class Collector:
    """Collects the metrics of one platform, and serves them until they expire. Thread-safe.

    Args:
        platform: the platform.
        more: additional parts by name, such as values from Dagster.
    """

    def __init__(self, platform: Platform, more: Mapping[str, Part] | None = None) -> None:
        self._parts: dict[str, Part] = {
            "work": partial(_work, platform),
            "gates": partial(_gates, platform),
            "costs": partial(_costs, platform),
            "videos": partial(_videos, platform),
            "projects": partial(_projects, platform),
            "progress": partial(_progress, platform),
            "disk": partial(_disk, platform),
            "gpu": _gpu,
            **(more or {}),
        }
        self._lock = threading.Lock()
        self._known = Values()
        self._good_until = -1.0  # time.monotonic()
        self._failing: set[str] = set()

    def values(self) -> Values:
        """Return the values of all metrics.

        They are collected at most once every 5 s, and less often if collecting is slow.
        """
        with self._lock:
            began = time.monotonic()
            if began >= self._good_until:
                self._known = self._collected()
                ended = time.monotonic()
                self._good_until = ended + max(SHORTEST_LIFE, _LIFE_TO_COST * (ended - began))
            return self._known

    def _collected(self) -> Values:
        values, began, failing = Values(), time.monotonic(), set[str]()
        for name, part in self._parts.items():
            of_part = Values()
            try:
                part(of_part)
            except Exception as error:  # noqa: BLE001 - reported by a metric; the other values are still valid
                failing.add(name)
                if name not in self._failing:  # logged once, however often the metrics are requested
                    logger.warning(
                        "metrics of the part %r cannot be collected and are missing until a later attempt succeeds: %s",
                        name,
                        fault_of(error).line,
                    )
            else:
                values.add(of_part)
            values.set("collection_failed", float(name in failing), name)
        self._failing = failing
        values.set("catalog_seconds", time.monotonic() - began)
        values.set("build_info", 1, __version__)
        return values


def _work(platform: Platform, values: Values) -> None:
    database = platform.database
    with database.reading() as session:
        now = database.now(session)
        waiting, in_flight = waiting_work(session, now), items_in_flight(session)
    for stage, work in waiting.items():
        word = _word(stage)
        values.set("pending_items", work.num_due, word)
        values.set("waiting_items", work.num_later, word)
        oldest = 0.0 if work.oldest_due is None else max(0.0, (now - work.oldest_due).total_seconds())
        values.set("oldest_pending_seconds", oldest, word)
        values.set("items_in_flight", in_flight[stage], word)
    runs = dict.fromkeys(map(_word, WorkStage), 0)
    for lease in find_leases(database):
        if lease.expires_at > now:
            at = stage_of_job(lease.job)
            name = lease.job if at is None else _word(at)
            runs[name] = runs.get(name, 0) + 1
    for name, number in runs.items():
        values.set("runs", number, name)
    for count in count_failures(database):
        if count.stage is not WorkStage.DOWNLOADING:  # `_videos` counts failed downloads by video
            _add(values, "failed_items", count.num_items, _word(count.stage), count.kind)


def _gates(platform: Platform, values: Values) -> None:
    database = platform.database
    with database.reading() as session:
        now = database.now(session)
        closed = {gate.stage: gate.closed_at for gate in closed_stages(session)}
        paused = paused_stages(session)
        starts = busiest_sites(session, now)
        told = Counter(alert.kind for alert in find_alerts(session) if alert.told_at is not None)
    for kind in AlertKind:
        values.set("alerts_active", told[kind], kind.value)
    for stage in WorkStage:
        closed_at = closed.get(stage)
        values.set("stage_closed", float(closed_at is not None), _word(stage))
        values.set("stage_closed_seconds", _seconds_since(closed_at, now), _word(stage))
        values.set("stage_paused", float(stage in paused), _word(stage))
    for gate in closed_gates(database, now):
        values.set("host_blocked", 1, gate.site)
    politeness = platform.config.downloading.politeness
    for site in starts:
        used = [
            number / budget
            for number, budget in (
                (site.in_hour, politeness.hourly_budget),
                (site.in_day, politeness.daily_budget),
            )
            if budget is not None
        ]
        if used:
            values.set("site_budget_used_ratio", max(used), site.site)


def _costs(platform: Platform, values: Values) -> None:
    for stage, spent in spent_by_stage(platform.database).items():
        values.set("items", spent.num_items - spent.num_failed, _word(stage), "done")
        values.set("items", spent.num_failed, _word(stage), "failed")
        for name, amount in {
            "requests": spent.num_requests,
            "bytes_received": spent.bytes_received,
            "bytes_written": spent.bytes_written,
            "cpu_seconds": spent.cpu_seconds,
            "gpu_seconds": spent.gpu_seconds,
            "wall_seconds": spent.wall_seconds,
            "frames": spent.num_frames,
            "boxes": spent.num_boxes,
        }.items():
            values.set(name, amount, _word(stage))


def _videos(platform: Platform, values: Values) -> None:
    with platform.database.reading() as session:
        counts = video_counts(session)
    for (status, reason), number in counts.by_status.items():
        values.set("videos", number, status.value.lower(), reason)
    for reason, number in counts.failed_downloads.items():
        values.set("failed_items", number, _word(WorkStage.DOWNLOADING), reason)
    values.set("root_bytes", counts.source_bytes, "videos")
    values.set("root_bytes", counts.frames_bytes, "frames")


def _projects(platform: Platform, values: Values) -> None:
    rows = find_projects(platform.database)
    with platform.database.reading() as session:
        counts = project_counts(session)
    for row in rows:
        for stage, of_stage in counts.get(row.name, {}).items():
            for state in ("pending", "done", "failed"):
                values.set("project_items", getattr(of_stage, state), row.name, _word(stage), state)
        for key, step in _STEPS.items():
            if key in row.counts:
                values.set("project_frames", row.counts[key], row.name, step)
        values.set("project_stage", 1, row.name, row.stage.word)


def _progress(platform: Platform, values: Values) -> None:
    """Set the progress of each project. A project without due videos has no value."""
    for found in standing_of(platform).videos:
        name = found.project or ""
        values.set("project_progress_ratio", found.share_done, name)
        if found.remaining_seconds is not None:
            values.set("project_eta_seconds", found.remaining_seconds, name)


def _disk(platform: Platform, values: Values) -> None:
    free, size = disk_values(platform.root)
    values.set("disk_free_bytes", free)
    values.set("disk_size_bytes", size)
    if (quota := platform.config.room.quota) is not None:
        values.set("quota_bytes", quota)


def _gpu(values: Values) -> None:
    for gpu in gpu_values():
        for name, value in (
            ("gpu_memory_used_bytes", gpu.memory_used_bytes),
            ("gpu_memory_size_bytes", gpu.memory_size_bytes),
            ("gpu_utilization_ratio", gpu.utilization),
        ):
            if value is not None:
                values.set(name, value, gpu.name)


def _add(values: Values, name: str, value: float, *labels: str) -> None:
    known = values.by_name.get(name, {}).get(labels, 0.0)
    values.set(name, known + value, *labels)


def _word(stage: WorkStage) -> str:
    return stage.value.lower()


def _seconds_since(date: datetime | None, now: datetime) -> float:
    return 0.0 if date is None else max(0.0, (now - date).total_seconds())
