"""Metadata for the Dagster UI: contact sheets, commands and links. Each asset has one function.

Pictures are files under the root (storage/layout.py: previews). Events contain the addresses at which the web server
serves the pictures (web/previews.py), and the paths of review pages, to which the web server redirects
(web/review_links.py). Metadata beyond an event's limit is cut (assets/metadata.py).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dagster as dg

from data_miner_dagster.assets.outcomes import CHANGES, NEXT
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.config.web import REVIEW_LINKS
from data_miner_dagster.domain.phrases import counted, phrase_of_member
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.layout import StorageLayout

if TYPE_CHECKING:
    from data_miner_dagster.operations.reporting.previews import Preview

Metadata = dict[str, dg.MetadataValue]

_ALT: Final = "frames"
"""The alternative text of pictures. It is short to save bytes in events; the asset's name is shown above it."""


def _pictures(layout: StorageLayout, item: str, file: Path, draw: Callable[[], "Preview | None"]) -> Metadata:
    """Save the picture that `draw` returns as `file`, and return an entry with Markdown that shows it.

    If `draw` returns None, the file is removed, and the result is empty. If drawing fails, the entry gives the reason.
    """
    from data_miner_dagster.operations.item_faults import ItemFault, attempt_extra
    from data_miner_dagster.operations.reporting.previews import save_preview

    def saved() -> "Preview | None":
        preview = draw()
        if preview is None:
            file.unlink(missing_ok=True)
        else:
            save_preview(preview, file)
        return preview

    preview = attempt_extra("preview", item, saved)
    if isinstance(preview, ItemFault):
        return {"preview": dg.MetadataValue.text(f"the preview could not be drawn: {preview.line}")}
    return {} if preview is None else {"preview": dg.MetadataValue.md(f"![{_ALT}]({layout.preview_address(file)})")}


def _stage_ways(
    platform: Platform,
    project: str,
    asset: str,
    draw: Callable[[], "Preview | None"],
    then: str,
    links: Mapping[str, str],
) -> Metadata:
    """Return one entry with the next steps for a person: the commands in `then`, the links and the picture.

    If the picture could not be drawn, a second entry gives the reason.
    """
    layout = platform.layout
    drawn = _pictures(layout, project, layout.project_preview(project, asset), draw)
    picture = drawn.get("preview")
    named = ", ".join(f"[{word}]({address})" for word, address in links.items())
    line = f"{then.format(project=project)}. {named}"
    if isinstance(picture, dg.MarkdownMetadataValue):
        return {NEXT: dg.MetadataValue.md(f"{line}\n\n{picture.md_str}")}
    return {NEXT: dg.MetadataValue.md(line)} | drawn


def _review_page(project: str, page: str = "") -> str:
    return f"{REVIEW_LINKS}/projects/{project}{page}"


def video_metadata(video_key: str) -> Metadata:
    """Return a link to the review page of a video."""
    return {"review": dg.MetadataValue.url(f"{REVIEW_LINKS}/videos/{video_key}")}


def download_metadata(platform: Platform, video_key: str) -> Metadata:
    """Return links to the review page of a video, and to the contact sheet that extraction will write later."""
    address = platform.layout.preview_address(platform.layout.video_preview(video_key))
    picture = dg.MetadataValue.md(f"![shown once frames are extracted]({address})")
    return video_metadata(video_key) | {"preview": picture}


def frames_metadata(platform: Platform, video_key: str) -> Metadata:
    """Return a link to the review page of a video, and a contact sheet of its frames."""
    from data_miner_dagster.operations.reporting.previews import frames_preview

    file = platform.layout.video_preview(video_key)
    sheet = _pictures(platform.layout, video_key, file, lambda: frames_preview(platform, video_key))
    return video_metadata(video_key) | sheet


def sourcing_metadata(platform: Platform, project: str) -> Metadata:
    """Return the counts of a project's members by source and status, and a link to its review page."""
    members = find_members(platform.database, project)
    by_source = Counter((member.source, phrase_of_member(member.status)) for member in members)
    told = [f"{count:,} from {source} ({how_far})" for (source, how_far), count in sorted(by_source.items())]
    return {
        "members": dg.MetadataValue.text(", ".join(told)),
        "review": dg.MetadataValue.url(_review_page(project)),
    }


def filtering_metadata(platform: Platform, project: str) -> Metadata:
    """Return a contact sheet of kept and dropped frames, and a command and link for finding the right threshold."""
    from data_miner_dagster.operations.reporting.previews import filtering_preview

    then = "`data-miner review {project}` finds the right threshold from your answers"
    links = {"review": _review_page(project, f"/queues/{ReviewQueue.CALIBRATION}")}
    return _stage_ways(platform, project, "filtered_frames", partial(filtering_preview, platform, project), then, links)


def deduplication_metadata(platform: Platform, project: str) -> Metadata:
    """Return a contact sheet of the largest duplicate groups, a review command and link, and a list of re-uploads."""
    from data_miner_dagster.operations.reporting.previews import deduplication_preview

    then = "`data-miner review {project}` lets you restore frames that are not duplicates"
    links = {"review": _review_page(project, f"/queues/{ReviewQueue.DUPLICATES}")}
    draw = partial(deduplication_preview, platform, project)
    ways = _stage_ways(platform, project, "deduplicated_frames", draw, then, links)
    return ways | _reuploads(platform, project)


def _reuploads(platform: Platform, project: str) -> Metadata:
    from data_miner_dagster.operations.deduplication.reuploads import project_reuploads

    told = [
        f"{found.title} ({found.video_key}) in {found.original_title} ({found.original_video_key}): "
        f"{found.num_matched_frames} of {counted(found.num_frames, 'frame')}"
        for found in project_reuploads(platform, project)
    ]
    return {"reuploads": dg.MetadataValue.text("; ".join(told))} if told else {}


def detection_metadata(platform: Platform, project: str) -> Metadata:
    """Return a contact sheet of frames with their boxes, and a command and link for reviewing unsure boxes."""
    from data_miner_dagster.operations.reporting.previews import detections_preview

    then = "`data-miner review {project}` asks you about unsure boxes"
    links = {"review": _review_page(project, f"/queues/{ReviewQueue.UNSURE}")}
    return _stage_ways(platform, project, "detections", partial(detections_preview, platform, project), then, links)


def dataset_metadata(platform: Platform, project: str) -> Metadata:
    """Return a contact sheet of frames with their boxes, the changes since the previous release, commands and links.

    The links lead to the review page and to the report, which contains all further results. Without a release, the
    changes, the link to the report and the command for exporting are omitted.
    """
    from data_miner_dagster.operations.reporting.previews import dataset_preview

    draw = partial(dataset_preview, platform, project)
    links = {"review": _review_page(project)}
    then = "`data-miner review {project}` asks you the most useful questions"
    row = find_project(platform.database, project)
    if row is None or not row.released_version:
        return _stage_ways(platform, project, "dataset", draw, then, links)
    links = {"report": f"{REVIEW_LINKS}/report/{project}/", **links}
    then = f"`data-miner export {{project}} --to FOLDER` exports the release; {then}"
    ways = _stage_ways(platform, project, "dataset", draw, then, links)
    return ways | _changes(platform, project, row.released_version)


def _changes(platform: Platform, project: str, version: str) -> Metadata:
    """Return an entry with the changes since the previous release, or an empty dict for a first release."""
    from data_miner_dagster.operations.releasing.standing import list_releases

    released = list_releases(platform, project)
    changes = next((release.changes for release in released if release.version == version), "")
    return {CHANGES: dg.MetadataValue.text(changes)} if changes else {}


def student_metadata(platform: Platform, project: str) -> Metadata:
    """Return the latest student's training curve and quality, and a command and link for reviewing its disagreements.

    The result is empty if the project has no student.
    """
    from data_miner_dagster.domain.students import student_name
    from data_miner_dagster.operations.training.students import curve_preview, latest_student

    student = latest_student(platform, project)
    if student is None:
        return {}
    name = student_name(project)
    then = f"`data-miner review {{project}}` first asks about any frames where {name} disagrees with the annotations"
    links = {"review": _review_page(project, f"/queues/{ReviewQueue.STUDENT}")}
    ways = _stage_ways(platform, project, "student", partial(curve_preview, student), then, links)
    return ways | {
        CHANGES: dg.MetadataValue.text(student.line),
        "mAP50": dg.MetadataValue.float(student.best.map50),
    }
