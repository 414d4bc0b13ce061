"""Render the report as a self-contained HTML page without external scripts, fonts or pictures.

Belongs here: the page's content and its order. Does not belong here: drawing (histograms.py, funnel_bars.py) and
collecting the numbers (operations/reporting/report.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from data_miner_dagster.domain.splits import splits_in
from data_miner_dagster.export.datasheet import cuts_of
from data_miner_dagster.export.evaluation_section import EvaluationSection
from data_miner_dagster.export.funnel_bars import funnel_bars
from data_miner_dagster.export.histograms import Histogram
from data_miner_dagster.export.licences import forbidding, licences_of
from data_miner_dagster.export.limits import limits_of
from data_miner_dagster.export.records import ReleaseVideo
from data_miner_dagster.export.templating import render

MAX_VIDEOS_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class ReportTile:
    """One picture of a gallery, as a `data:` URI.

    `verdict` is "kept", "dropped", "duplicate", "neutral", or "blank" for an empty cell of the gallery. `place` names
    the video and the second. `link` is the address of that place, or empty if the video has no address.
    """

    uri: str
    caption: str
    verdict: str
    frame_id: str = ""
    place: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """A section of pictures.

    `columns` is the number of columns if each row has a meaning, or else None. `command` is a command to run next, or
    empty.
    """

    anchor: str
    title: str
    note: str
    tiles: tuple[ReportTile, ...]
    columns: int | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class CostSection:
    """The cost of a release: a table with a row per stage and a total, `line` with the rates, and a `remark`.

    The remark is about videos that other projects share.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    line: str
    remark: str


@dataclass(frozen=True, slots=True)
class ReportContent:
    """The content of a release's report.

    Attributes:
        release: the content of the release's manifest.
        videos: the videos with at least one released image, sorted by key.
        funnel: the steps that `Funnel.as_json` returns.
        histograms: drawings of similarities and confidences.
        galleries: sections of pictures, in order.
        class_colours: one `#rrggbb` per class.
        release_link: the address of the release's folder, relative to the page.
        reuploads: videos whose frames were found in other videos, sorted by key, with the fields of `ReportedReupload`.
        withdrawn: why the release must no longer be used, or None if it was not withdrawn.
        evaluation: the latest comparison of boxes with a ground truth, or None if there has been no comparison.
        cost: the cost of the release, or None if it was not measured.
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
    evaluation: EvaluationSection | None = None
    cost: CostSection | None = None


def render_report(content: ReportContent) -> str:
    """Render the page as HTML, with at most `MAX_VIDEOS_SHOWN` videos and re-uploads, and the number of the others.

    The same content yields the same page.
    """
    videos, reuploads = content.videos, content.reuploads
    return render(
        "report.html.j2",
        release=content.release,
        videos=videos[:MAX_VIDEOS_SHOWN],
        num_videos_left_out=max(0, len(videos) - MAX_VIDEOS_SHOWN),
        reuploads=reuploads[:MAX_VIDEOS_SHOWN],
        num_reuploads_left_out=max(0, len(reuploads) - MAX_VIDEOS_SHOWN),
        cuts=cuts_of(videos),
        licences=(licences := licences_of(videos)),
        forbidding=forbidding(licences),
        limits=content.release.get("limits") or limits_of(content.release, videos),
        funnel=funnel_bars(content.funnel),
        histograms=content.histograms,
        galleries=content.galleries,
        classes=_classes(content),
        splits=_splits(content),
        release_link=content.release_link,
        withdrawn=content.withdrawn,
        section=content.evaluation,
        cost=content.cost,
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
            "num_videos": sum(name in splits_in(video.split) for video in content.videos),
            "percent": _percent(release["images_by_split"][name], release["num_images"]),
        }
        for name, share in release["splits"]["shares"].items()
    ]


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
