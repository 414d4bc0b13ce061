"""Build the bars of the report's funnel, grouped by unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_miner_dagster.domain.phrases import counted_phrase, phrase_of


@dataclass(frozen=True, slots=True)
class FunnelBar:
    """One row of the funnel: the remaining and lost parts, as percentages of the first row with the same unit."""

    label: str
    count: str
    left_percent: float
    lost_percent: float
    remarks: tuple[tuple[str, str], ...]  # ("lost" or "kind", text)


def funnel_bars(steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[FunnelBar]]]:
    """Return (unit, bars) pairs for videos, frames and boxes. Steps that were not reached are omitted.

    Args:
        steps: the steps that `Funnel.as_json` returns.
    """
    units = {
        "Videos": ("candidates", "videos", "extracted"),
        "Frames": ("frames", "filtered", "unique", "detected", "settled", "released_images"),
        "Boxes": ("boxes", "boxes_releasable", "released_boxes"),
    }
    by_name = {step["step"]: step for step in steps}
    groups = []
    for unit, names in units.items():
        rows: list[FunnelBar] = []
        whole = 0
        for name in names:
            step = by_name.get(name)
            if step is None or step["count"] is None:
                continue
            whole = whole or step["count"] or 1
            lost = sum(step["lost"].values())
            rows.append(
                FunnelBar(
                    phrase_of(step["label"]),
                    f"{step['count']:,}",
                    round(100 * min(1.0, step["count"] / whole), 2),
                    round(100 * min(max(0.0, 1 - step["count"] / whole), lost / whole), 2),
                    (
                        *(("lost", counted_phrase(number, reason)) for reason, number in step["lost"].items()),
                        *(("kind", f"{number:,} {kind.replace('_', ' ')}") for kind, number in step["kinds"].items()),
                        *((("kind", step["note"]),) if step.get("note") else ()),
                    ),
                )
            )
        if rows:
            groups.append((unit, rows))
    return groups
