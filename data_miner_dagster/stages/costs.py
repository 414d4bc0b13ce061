"""The cost of a dataset: the resources used by each stage, per image and per box, and each stage's efficiency.

Pure functions. Does not belong here: measuring costs (domain/meters.py), or storing them (catalog/measurements.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from data_miner_dagster.domain.measurements import AMOUNTS, FLOORS, Measured
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.sizes import size_text
from data_miner_dagster.domain.work import WorkStage

_RATES: Final = ("num_requests", "bytes_received", "cpu_seconds", "gpu_seconds")
"""The amounts that are shown per image and per box."""
_DIGITS: Final = 3
"""The number of decimal places to which seconds and rates are rounded."""


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a project so far.

    `num_images` and `num_boxes` are the counts of one release (usually the latest), or 0 if there is none. The rates
    are the project's cost so far divided by these counts. A video's download, frames and embeddings count in full for
    each project that contains the video. `num_shared_videos` is the number of videos that also belong to other
    projects, and `num_sharing_projects` is the number of those other projects.
    """

    by_stage: Mapping[WorkStage, Measured]
    num_images: int = 0
    num_boxes: int = 0
    num_shared_videos: int = 0
    num_sharing_projects: int = 0

    @property
    def total(self) -> Measured:
        """The resources used by all stages together."""
        return sum(self.by_stage.values(), Measured())

    def as_json(self) -> dict[str, Any]:
        """Return the cost as JSON-compatible values, with all fractional numbers rounded to three decimal places."""
        total = self.total
        return {
            "num_images": self.num_images,
            "num_boxes": self.num_boxes,
            "total": _plain(total),
            "per_image": _rates(total, self.num_images),
            "per_box": _rates(total, self.num_boxes),
            "stages": [
                {
                    "stage": stage.value.lower(),
                    **_plain(spent),
                    "floor": FLOORS.get(stage),
                    "achieved": _of(stage, spent),
                }
                for stage, spent in self.by_stage.items()
            ],
            "num_shared_videos": self.num_shared_videos,
            "num_sharing_projects": self.num_sharing_projects,
        }


def achieved(stage: WorkStage, spent: Measured) -> float | None:
    """Return the fraction of a stage's wall time that is unavoidable work (`FLOORS`), or None if it is unknown."""
    if stage not in FLOORS or not spent.floor_seconds or not spent.wall_seconds:
        return None
    return min(1.0, spent.floor_seconds / spent.wall_seconds)


def cost_line(cost: Mapping[str, Any]) -> str:
    """Return a cost (`Cost.as_json`) as one line of text: in all, and per image and per box if there are any."""
    received = bool(cost["total"]["num_requests"] or cost["total"]["bytes_received"])
    told = [f"{_rates_text(cost['total'], received)} in all"]
    told += [
        f"{_rates_text(cost[key], received)} per {word}"
        for key, word in (("per_image", "image"), ("per_box", "box"))
        if cost[key]
    ]
    return "; ".join(told)


def sharing_line(cost: Mapping[str, Any]) -> str:
    """Return a sentence about the videos shared with other projects, or "" if no video is shared."""
    number, projects = cost["num_shared_videos"], cost["num_sharing_projects"]
    if not number:
        return ""
    return (
        f"{counted(number, 'video is', 'videos are')} shared with {counted(projects, 'other project')}: the cost of "
        f"{'its' if number == 1 else 'their'} download, frames and embeddings counts in full in every project."
    )


def cost_rows(cost: Mapping[str, Any]) -> list[list[str]]:
    """Return a cost (`Cost.as_json`) as rows of text with the columns `COST_COLUMNS`: one per stage, then the total.

    The result is empty if the cost has no stages.
    """
    rows = [_row(row["stage"], row, row) for row in cost["stages"]]
    return [*rows, _row("all", cost["total"], None)] if rows else []


COST_COLUMNS: Final = ("stage", "items", "failed", "requests", "received", "written", "CPU", "GPU", "wall", "achieved")


def _row(name: str, spent: Mapping[str, Any], floor: Mapping[str, Any] | None) -> list[str]:
    share = floor["achieved"] if floor is not None else None
    return [
        name,
        f"{spent['num_items']:,}",
        f"{spent['num_failed']:,}",
        f"{spent['num_requests']:,}",
        size_text(spent["bytes_received"]),
        size_text(spent["bytes_written"]),
        _seconds(spent["cpu_seconds"]),
        _seconds(spent["gpu_seconds"]),
        _seconds(spent["wall_seconds"]),
        f"{100 * share:.0f} % {floor['floor']}" if share is not None and floor is not None else "",
    ]


def _plain(spent: Measured) -> dict[str, int | float]:
    return {name: _rounded(getattr(spent, name)) for name in AMOUNTS}


def _rates(total: Measured, number: int) -> dict[str, int | float] | None:
    if not number:
        return None
    return {name: _rounded(getattr(total, name) / number) for name in _RATES}


def _rounded(value: int | float) -> int | float:
    return value if isinstance(value, int) else round(value, _DIGITS)


def _of(stage: WorkStage, spent: Measured) -> float | None:
    share = achieved(stage, spent)
    return None if share is None else round(share, _DIGITS)


def _rates_text(rates: Mapping[str, int | float], received: bool) -> str:
    """Return amounts as a string, without requests and bytes unless `received`, and without GPU time if it is 0."""
    parts = []
    if received:
        number = rates["num_requests"]
        requests = f"{number:,.3g}" if number < 1000 else f"{number:,.0f}"
        parts.append(f"{requests} request{'' if number == 1 else 's'}")
        parts.append(f"{size_text(round(rates['bytes_received']))} received")
    parts.append(f"{_seconds(rates['cpu_seconds'])} CPU")
    if rates["gpu_seconds"]:
        parts.append(f"{_seconds(rates['gpu_seconds'])} GPU")
    return ", ".join(parts)


def _seconds(seconds: float) -> str:
    """Return a duration as a string in seconds, minutes or hours, depending on its length."""
    if not seconds:
        return "0 s"
    if seconds < 60:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"
