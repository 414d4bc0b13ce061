"""The names and meanings of all metrics, which the exporter and `docs/deploy/monitoring.md` use.

Belongs here: names, labels and meanings. Does not belong here: obtaining the values (collecting.py).
"""

from dataclasses import dataclass
from typing import Final, Literal

PREFIX: Final = "data_miner_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `labels` are the names of the labels that distinguish its values."""

    name: str
    """The name without the prefix and, for a counter, without `_total`."""
    meaning: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"

    @property
    def full_name(self) -> str:
        """The name that Prometheus shows."""
        return f"{PREFIX}{self.name}" + ("_total" if self.kind == "counter" else "")


def _counter(name: str, meaning: str, *labels: str) -> Family:
    return Family(name, meaning, ("stage", *labels), "counter")


FAMILIES: Final[dict[str, Family]] = {
    family.name: family
    for family in (
        # work
        Family("pending_items", "Videos and projects that are due now at a stage.", ("stage",)),
        Family("waiting_items", "Videos that are due later at a stage.", ("stage",)),
        Family(
            "oldest_pending_seconds", "How long the longest-waiting item has been due; 0 if none is due.", ("stage",)
        ),
        Family("items_in_flight", "Items in runs that have not ended.", ("stage",)),
        Family(
            "runs", "Runs with a live process, by stage, or by the job's name if it has no single stage.", ("stage",)
        ),
        Family("failed_items", "Items whose last attempt at a stage failed, by kind of failure.", ("stage", "kind")),
        Family("videos", "Videos by status and, for those that failed, reason.", ("status", "reason")),
        # what holds work back
        Family("stage_closed", "1 while the gate of a stage is closed because of an outage.", ("stage",)),
        Family("stage_closed_seconds", "How long the gate of a stage has been closed; 0 if it is open.", ("stage",)),
        Family("stage_paused", "1 while a person holds a stage for all projects.", ("stage",)),
        Family("host_blocked", "1 for each site that receives no requests now; `*` means every site.", ("site",)),
        Family(
            "site_budget_used_ratio",
            "Used share of a site's hourly or daily download budget, whichever share is larger, for the 20 sites with "
            "the most downloads.",
            ("site",),
        ),
        Family("pool_slots", "Number of slots in a pool.", ("pool",)),
        Family("pool_slots_used", "Number of slots in a pool that are in use.", ("pool",)),
        # the cost of work, from the catalog: it survives the run that counted it
        _counter("items", "Finished attempts at items, by outcome: done or failed.", "outcome"),
        _counter("requests", "Requests sent to sites."),
        _counter("bytes_received", "Bytes of the responses, as received."),
        _counter("bytes_written", "Bytes of the files that were written and stored."),
        _counter("cpu_seconds", "CPU time of all threads and worker processes."),
        _counter("gpu_seconds", "Time in models that run on a GPU."),
        _counter("wall_seconds", "Wall-clock time of all items, added up."),
        _counter("frames", "Frames that were extracted or examined."),
        _counter("boxes", "Boxes that were detected."),
        # projects
        Family(
            "project_items",
            "Videos of a project at a stage, by state: pending, done or failed.",
            ("project", "stage", "state"),
        ),
        Family(
            "project_frames",
            "Frames of a project as of its last stage, by step: seen, kept, representatives, released.",
            ("project", "step"),
        ),
        Family("project_stage", "1 for the current state of a project.", ("project", "stage")),
        Family(
            "project_progress_ratio",
            "Completed share of the work on a project's videos since work last paused, from 0 to 1.",
            ("project",),
        ),
        Family(
            "project_eta_seconds",
            "Estimated time until a project's videos are done; includes the stages up to its release if their speed "
            "is known.",
            ("project",),
        ),
        # room and machine
        Family("root_bytes", "Bytes under the root, by kind: videos, frames.", ("kind",)),
        Family("disk_free_bytes", "Free bytes on the disk of the root."),
        Family("disk_size_bytes", "Size of the disk of the root in bytes."),
        Family("quota_bytes", "The quota of the root in bytes; absent if there is none."),
        Family("gpu_memory_used_bytes", "Used memory of a GPU in bytes.", ("gpu",)),
        Family("gpu_memory_size_bytes", "Total memory of a GPU in bytes.", ("gpu",)),
        Family(
            "gpu_utilization_ratio", "Share of the most recent sampling interval in which a GPU was busy.", ("gpu",)
        ),
        # the platform itself
        Family("last_tick_timestamp_seconds", "When the sensor that plans all work last ran, in seconds since 1970."),
        Family("alerts_active", "Alerts that were sent and whose cause still exists.", ("kind",)),
        Family("catalog_seconds", "How long the last collection took."),
        Family("collection_failed", "1 for a part of the metrics that could not be collected, else 0.", ("part",)),
        Family("build_info", "The version of the package; always 1.", ("version",)),
    )
}
"""All metrics by name, in order."""


def metrics_table() -> str:
    """Return all metrics as a Markdown table."""
    rows = [
        f"| `{family.full_name}` | {family.kind} | {', '.join(f'`{label}`' for label in family.labels)} | "
        f"{family.meaning} |"
        for family in FAMILIES.values()
    ]
    return "\n".join(["| metric | kind | labels | meaning |", "|---|---|---|---|", *rows])
