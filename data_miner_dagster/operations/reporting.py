"""The report of a project's latest release: `reports/<name>/index.html`, readable from disk without a network."""

from typing import Final

from data_miner_dagster.domain.errors import DataMinerError
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.export.templating import render
from data_miner_dagster.media.contact_sheets import data_uri
from data_miner_dagster.operations.funnel import project_funnel
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.previews import (
    deduplication_preview,
    detections_preview,
    filtering_preview,
)
from data_miner_dagster.storage.atomic import atomic_folder

REPORT_FILE: Final = "index.html"
_RELEASE_MARK: Final = "release.txt"


def write_report(platform: Platform, project: str, version: str, *, rewrite: bool) -> bool:
    """Write the report of a release unless it is there; return True if it was written."""
    folder = platform.layout.report_folder(project)
    manifest = read_manifest(platform.layout.release_folder(project, version))
    if manifest is None:
        raise DataMinerError(f"there is no release {version} of project {project!r}")
    mark = f"{version} {manifest['fingerprint']}\n"
    shown = folder / _RELEASE_MARK
    if not rewrite and shown.is_file() and shown.read_text() == mark:
        return False
    makers = (filtering_preview, deduplication_preview, detections_preview)
    previews = [preview for make in makers if (preview := make(platform, project)) is not None]
    html = render(
        "report.html.j2",
        release=manifest,
        funnel_rows=project_funnel(platform, project).as_rows(),
        sheets=[{"title": preview.title, "uri": data_uri(preview.sheet)} for preview in previews],
    )
    with atomic_folder(folder) as partial:
        (partial / REPORT_FILE).write_text(html, encoding="utf-8")
        (partial / _RELEASE_MARK).write_text(mark)
    return True
