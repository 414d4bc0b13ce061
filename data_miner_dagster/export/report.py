"""The report: one HTML page without scripts, fonts or pictures from elsewhere.

Belongs here: what the page shows, and turning numbers into drawings. Does not belong here: finding the numbers
(operations/reporting/report.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.export.datasheet import counts_by_licence
from data_miner_dagster.export.records import ReleaseVideo
from data_miner_dagster.export.templating import render

HISTOGRAM_BINS: Final = 48
MAX_VIDEOS_SHOWN: Final = 300

_NARROWEST: Final = 0.01
_WIDTH: Final = 640.0
_HEIGHT: Final = 150.0


@dataclass(frozen=True, slots=True)
class ReportTile:
    """One picture of a gallery. `verdict` is kept, rejected, duplicate, neutral, or blank for a free place."""

    uri: str
    caption: str
    verdict: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """A section of pictures; `columns` is set where rows mean something, `command` where something can be done."""

    anchor: str
    title: str
    note: str
    tiles: tuple[ReportTile, ...]
    columns: int | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a drawing, in units of its view box."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """Stacked bars over a range, with marks at thresholds (position in units of the view box, label)."""

    title: str
    note: str
    bars: tuple[Bar, ...]
    marks: tuple[tuple[float, str], ...]
    ticks: tuple[tuple[float, str], ...]
    legend: tuple[tuple[str, str], ...]  # kind, text
    view_wh: tuple[float, float] = (_WIDTH, _HEIGHT)


class HistogramCounts:
    """Counts of values between two bounds, in equal bins, one row per series; values outside count at the ends.

    Bounds that meet (a threshold of 1.0 and the largest cosine) are drawn a little apart.
    """

    def __init__(self, series: Sequence[str], low: float, high: float, *, bins: int = HISTOGRAM_BINS) -> None:
        self.series = tuple(series)
        self.low, self.high = (low, high) if low < high else (low - _NARROWEST / 2, low + _NARROWEST / 2)
        self.counts = np.zeros((len(self.series), bins), np.int64)

    def add(self, series: str, values: npt.NDArray[np.float64]) -> None:
        """Count the values of one series; NaN is left out."""
        finite = values[np.isfinite(values)]
        bins = self.counts.shape[1]
        places = ((finite - self.low) / (self.high - self.low) * bins).astype(np.int64)
        np.add.at(self.counts[self.series.index(series)], np.clip(places, 0, bins - 1), 1)

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())


def draw_histogram(
    counts: HistogramCounts,
    *,
    title: str,
    note: str,
    marks: Sequence[tuple[float, str]] = (),
    legend: Sequence[tuple[str, str]],
) -> Histogram:
    """Return a histogram as rectangles: series stacked in order, the tallest bin as high as the drawing."""
    bins = counts.counts.shape[1]
    step = _WIDTH / bins
    tallest = max(1, int(counts.counts.sum(axis=0).max()))
    bars = []
    for index in range(bins):
        base = _HEIGHT
        for (kind, _), number in zip(legend, counts.counts[:, index], strict=True):
            # a single value stays visible beside thousands
            height = max(2.0, float(number) / tallest * (_HEIGHT - 8)) if number else 0.0
            if height:
                base -= height
                bars.append(
                    Bar(round(index * step + 0.5, 2), round(base, 2), round(step - 1, 2), round(height, 2), kind)
                )

    def position(value: float) -> float:
        return round(min(max((value - counts.low) / (counts.high - counts.low), 0.0), 1.0) * _WIDTH, 2)

    ticks = [counts.low + (counts.high - counts.low) * part / 4 for part in range(5)]
    return Histogram(
        title,
        note,
        tuple(bars),
        tuple((position(value), label) for value, label in marks),
        tuple((position(tick), f"{tick:.2f}") for tick in ticks),
        tuple(legend),
    )


@dataclass(frozen=True, slots=True)
class FunnelBar:
    """One row of the funnel: what is left and what was lost, as shares of the first row of its unit."""

    label: str
    count: str
    left_percent: float
    lost_percent: float
    remarks: tuple[tuple[str, str], ...]  # (lost or kind, text)


def funnel_bars(steps: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[FunnelBar]]]:
    """Return the funnel in its three units, videos, frames and boxes; steps that were not reached are left out.

    Args:
        steps: of `Funnel.as_json`.
    """
    units = {
        "Videos": ("candidates", "videos", "extracted"),
        "Frames": ("frames", "filtered", "unique", "detected", "released_images"),
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
                    step["label"],
                    f"{step['count']:,}",
                    round(100 * min(1.0, step["count"] / whole), 2),
                    round(100 * min(max(0.0, 1 - step["count"] / whole), lost / whole), 2),
                    (
                        *(
                            ("lost", f"{number:,} {reason.replace('_', ' ')}")
                            for reason, number in step["lost"].items()
                        ),
                        *(("kind", f"{number:,} {kind.replace('_', ' ')}") for kind, number in step["kinds"].items()),
                    ),
                )
            )
        if rows:
            groups.append((unit, rows))
    return groups


def _remarks(role: str, counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(role, f"{number:,} {name.replace('_', ' ')}") for name, number in counts.items()]


def render_report(
    *,
    release: Mapping[str, Any],
    videos: Sequence[ReleaseVideo],
    funnel: Sequence[Mapping[str, Any]],
    histograms: Sequence[Histogram],
    galleries: Sequence[Gallery],
    class_colours: Sequence[str],
    release_link: str,
    reuploads: Sequence[Mapping[str, Any]] = (),
    withdrawn: str | None = None,
) -> str:
    """Return the page. The same content gives the same bytes.

    Args:
        release: what its manifest says.
        videos: those that gave an image, by key.
        funnel: the steps of `Funnel.as_json`.
        histograms: drawings of similarities and confidences.
        galleries: sections of pictures, in order.
        class_colours: one `#rrggbb` per class.
        release_link: relative address of the release's folder, seen from the page.
        reuploads: videos found again in others, by key: the fields of `ReportedReupload`.
        withdrawn: why the release must not be used any more, if that is so.
    """
    classes = [
        {
            "name": name,
            "colour": colour,
            "threshold": release["thresholds"][name],
            "num_images": release["images_by_class"][name],
            "num_boxes": release["boxes_by_class"][name],
            "percent": _percent(release["boxes_by_class"][name], max(release["boxes_by_class"].values(), default=0)),
        }
        for name, colour in zip(release["classes"], class_colours, strict=True)
    ]
    splits = [
        {
            "name": name,
            "wanted": round(100 * share),
            "num_images": release["images_by_split"][name],
            "num_boxes": release["boxes_by_split"][name],
            "num_videos": sum(video.split == name for video in videos),
            "percent": _percent(release["images_by_split"][name], release["num_images"]),
        }
        for name, share in release["splits"]["shares"].items()
    ]
    return render(
        "report.html.j2",
        release=release,
        videos=videos[:MAX_VIDEOS_SHOWN],
        num_videos_left_out=max(0, len(videos) - MAX_VIDEOS_SHOWN),
        reuploads=reuploads[:MAX_VIDEOS_SHOWN],
        num_reuploads_left_out=max(0, len(reuploads) - MAX_VIDEOS_SHOWN),
        licences=counts_by_licence(videos),
        funnel=funnel_bars(funnel),
        histograms=histograms,
        galleries=galleries,
        classes=classes,
        splits=splits,
        release_link=release_link,
        withdrawn=withdrawn,
    )


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
