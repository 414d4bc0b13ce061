"""Metadata for the Dagster UI: contact sheets, the funnel, tables. One function per asset, all with the same signature.

Every byte is stored in Dagster's event log, so operations/reporting/previews.py caps the size of the pictures.
"""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import dagster as dg

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.operations.platform import Platform

if TYPE_CHECKING:
    from data_miner_dagster.operations.reporting.previews import Preview

Metadata = dict[str, dg.MetadataValue]

_MAX_TABLE_ROWS: Final = 50


def _pictures(item: str, draw: Callable[[], "Preview | None"]) -> Metadata:
    from data_miner_dagster.operations.item_faults import ItemFault, attempt_extra

    preview = attempt_extra("preview", item, draw)
    if isinstance(preview, ItemFault):
        return {"preview": dg.MetadataValue.text(f"not drawn: {preview.line}")}
    if preview is None:
        return {}
    return {
        "strip": dg.MetadataValue.md(preview.strip_markdown),
        "preview": dg.MetadataValue.md(preview.sheet_markdown),
    }


def _funnel(platform: Platform, project: str) -> Metadata:
    from data_miner_dagster.operations.reporting.funnel import project_funnel

    return {"funnel": dg.MetadataValue.md(project_funnel(platform, project).as_markdown())}


def _path(name: str, path: object) -> Metadata:
    return {name: dg.MetadataValue.path(str(path))}


def frames_metadata(platform: Platform, video_key: str) -> Metadata:
    """Return a contact sheet of a video's frames, and the path of their folder."""
    from data_miner_dagster.operations.reporting.previews import frames_preview

    return _path("dagster/uri", platform.layout.frames_folder(video_key)) | _pictures(
        video_key, lambda: frames_preview(platform, video_key)
    )


def sourcing_metadata(platform: Platform, project: str) -> Metadata:
    """Return a table that counts the project's members by source, query and status."""
    members = find_members(platform.database, project)
    by_source = Counter((member.source, member.query, member.status.value) for member in members)
    records = [
        dg.TableRecord({"source": source, "query": query, "status": status, "count": count})
        for (source, query, status), count in sorted(by_source.items())[:_MAX_TABLE_ROWS]
    ]
    columns = [dg.TableColumn(name, "string") for name in ("source", "query", "status")]
    schema = dg.TableSchema(columns=[*columns, dg.TableColumn("count", "int")])
    return {"members": dg.MetadataValue.table(records=records, schema=schema)}


def filtering_metadata(platform: Platform, project: str) -> Metadata:
    """Return the funnel, a preview of kept and dropped frames, and how to check the threshold."""
    from data_miner_dagster.operations.reporting.previews import filtering_preview

    calibration = platform.layout.questions_page(project)
    return (
        _pictures(project, lambda: filtering_preview(platform, project))
        | _funnel(platform, project)
        | {"calibrate": dg.MetadataValue.md(f"`data-miner calibrate {project}`")}
        | ({"calibration page": dg.MetadataValue.url(calibration.as_uri())} if calibration.is_file() else {})
        | _path("dagster/uri", platform.layout.filtered_table(project))
    )


def deduplication_metadata(platform: Platform, project: str) -> Metadata:
    """Return the largest duplicate groups, and a table of re-uploaded videos if there are any."""
    from data_miner_dagster.operations.reporting.previews import deduplication_preview

    return (
        _pictures(project, lambda: deduplication_preview(platform, project))
        | _reuploads(platform, project)
        | _path("dagster/uri", platform.layout.deduplicated_table(project))
    )


def _reuploads(platform: Platform, project: str) -> Metadata:
    from data_miner_dagster.operations.deduplication.reuploads import project_reuploads

    records = [
        dg.TableRecord(
            {
                "video": found.title,
                "video key": found.video_key,
                "found in": found.original_title,
                "found in key": found.original_video_key,
                "frames": f"{found.num_matched_frames} of {found.num_frames}",
                "share": round(found.share, 3),
                "share of the other": round(found.original_share, 3),
            }
        )
        for found in project_reuploads(platform, project)[:_MAX_TABLE_ROWS]
    ]
    if not records:
        return {}
    texts = ("video", "video key", "found in", "found in key", "frames")
    columns = [dg.TableColumn(name, "string") for name in texts]
    columns += [dg.TableColumn(name, "float") for name in ("share", "share of the other")]
    return {"reuploads": dg.MetadataValue.table(records=records, schema=dg.TableSchema(columns=columns))}


def detection_metadata(platform: Platform, project: str) -> Metadata:
    """Return frames with their boxes drawn."""
    from data_miner_dagster.operations.reporting.previews import detections_preview

    return _pictures(project, lambda: detections_preview(platform, project)) | _path(
        "dagster/uri", platform.layout.detections_table(project)
    )


def dataset_metadata(platform: Platform, project: str) -> Metadata:
    """Return the whole funnel, labelled frames, and the paths of the release and the report."""
    from data_miner_dagster.operations.reporting.funnel import project_funnel
    from data_miner_dagster.operations.reporting.previews import dataset_preview

    funnel = project_funnel(platform, project)
    layout = platform.layout
    metadata = _pictures(project, lambda: dataset_preview(platform, project)) | _funnel(platform, project)
    if funnel.release is not None:
        metadata |= _path("dagster/uri", layout.release_folder(project, funnel.release))
        metadata |= {"report": dg.MetadataValue.url(layout.report_page(project).as_uri())}
    return metadata
