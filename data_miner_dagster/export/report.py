"""The report: one HTML page without scripts, fonts or pictures from elsewhere.

Belongs here: what the page shows, in which order. Does not belong here: drawing (histograms.py, funnel_bars.py), and
finding the numbers (operations/reporting/report.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from data_miner_dagster.export.datasheet import counts_by_licence
from data_miner_dagster.export.funnel_bars import funnel_bars
from data_miner_dagster.export.histograms import Histogram
from data_miner_dagster.export.records import ReleaseVideo
from data_miner_dagster.export.templating import render

MAX_VIDEOS_SHOWN: Final = 300


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
class ReportContent:
    """What the page of a release shows.

    Attributes:
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

    release: Mapping[str, Any]
    videos: Sequence[ReleaseVideo]
    funnel: Sequence[Mapping[str, Any]]
    histograms: Sequence[Histogram]
    galleries: Sequence[Gallery]
    class_colours: Sequence[str]
    release_link: str
    reuploads: Sequence[Mapping[str, Any]] = ()
    withdrawn: str | None = None


def render_report(content: ReportContent) -> str:
    """Return the page. The same content gives the same bytes."""
    videos, reuploads = content.videos, content.reuploads
    return render(
        "report.html.j2",
        release=content.release,
        videos=videos[:MAX_VIDEOS_SHOWN],
        num_videos_left_out=max(0, len(videos) - MAX_VIDEOS_SHOWN),
        reuploads=reuploads[:MAX_VIDEOS_SHOWN],
        num_reuploads_left_out=max(0, len(reuploads) - MAX_VIDEOS_SHOWN),
        licences=counts_by_licence(videos),
        funnel=funnel_bars(content.funnel),
        histograms=content.histograms,
        galleries=content.galleries,
        classes=_classes(content),
        splits=_splits(content),
        release_link=content.release_link,
        withdrawn=content.withdrawn,
    )


def _classes(content: ReportContent) -> list[dict[str, object]]:
    release = content.release
    most_boxes = max(release["boxes_by_class"].values(), default=0)
    return [
        {
            "name": name,
            "colour": colour,
            "threshold": release["thresholds"][name],
            "num_images": release["images_by_class"][name],
            "num_boxes": release["boxes_by_class"][name],
            "percent": _percent(release["boxes_by_class"][name], most_boxes),
        }
        for name, colour in zip(release["classes"], content.class_colours, strict=True)
    ]


def _splits(content: ReportContent) -> list[dict[str, object]]:
    release = content.release
    return [
        {
            "name": name,
            "wanted": round(100 * share),
            "num_images": release["images_by_split"][name],
            "num_boxes": release["boxes_by_split"][name],
            "num_videos": sum(video.split == name for video in content.videos),
            "percent": _percent(release["images_by_split"][name], release["num_images"]),
        }
        for name, share in release["splits"]["shares"].items()
    ]


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
