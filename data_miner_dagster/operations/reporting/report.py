"""Write the report on a project's release: the page `reports/<name>/index.html`, which can be viewed offline."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.addresses import Origin, address_at
from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.versions import REPORT_VERSION
from data_miner_dagster.export.evaluation_section import evaluation_section
from data_miner_dagster.export.histograms import Histogram, HistogramCounts, draw_histogram
from data_miner_dagster.export.manifest import read_manifest
from data_miner_dagster.export.parquet import read_videos
from data_miner_dagster.export.report import CostSection, Gallery, ReportContent, ReportTile, render_report
from data_miner_dagster.media.contact_sheets import Tile, class_colour, data_uri, drawn_tile
from data_miner_dagster.operations.deduplication.reuploads import project_reuploads
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures
from data_miner_dagster.operations.item_faults import ItemFault, attempt_extra
from data_miner_dagster.operations.naming import clock_text, name_of_video
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.funnel import release_steps
from data_miner_dagster.operations.reporting.previews import (
    COLUMNS,
    detection_tiles,
    dropped_tiles,
    duplicate_tiles,
    kept_tiles,
    narrow_tiles,
)
from data_miner_dagster.protocols.pictures import PictureReader
from data_miner_dagster.sites.redaction import redact_url
from data_miner_dagster.stages.costs import COST_COLUMNS, cost_line, cost_rows, sharing_line
from data_miner_dagster.stages.releasing import at_threshold
from data_miner_dagster.storage.atomic import atomic_folder
from data_miner_dagster.storage.frames import has_frames, read_frames
from data_miner_dagster.storage.layout import REPORT_MARK_NAME
from data_miner_dagster.storage.published_layout import REPORT_PAGE_NAME
from data_miner_dagster.storage.quality import quality_fingerprint, read_evaluation
from data_miner_dagster.storage.tables import read_batches

TILES_PER_GALLERY: Final = 12


def write_report(
    platform: Platform,
    config: ProjectConfig,
    manifest: dict[str, Any],
    *,
    withdrawn: str | None = None,
    rewrite: bool = False,
) -> Path:
    """Write the report on a release unless it is up to date, and return the path of the page.

    The caller must hold the project's claim.

    Args:
        platform: the platform of one root.
        config: the project's current configuration.
        manifest: the release's manifest.
        withdrawn: the reason why the release was withdrawn, or None if it was not.
        rewrite: write the page even if it is up to date.
    """
    project, version = config.name, manifest["version"]
    folder = platform.layout.report_folder(project)
    release_folder = platform.layout.release_folder(project, version)
    evaluation = read_evaluation(platform.layout.evaluation_file(project))
    compared = f" {quality_fingerprint(evaluation)}" if evaluation is not None else ""
    mark = f"{REPORT_VERSION} {version} {manifest['fingerprint']} {withdrawn or ''}{compared}\n"
    if not rewrite and _shown_mark(folder) == mark:
        return folder / REPORT_PAGE_NAME
    colours = [class_colour(index) for index in range(len(manifest["classes"]))]
    content = ReportContent(
        release=manifest,
        videos=read_videos(release_folder),
        funnel=_whole_funnel(manifest),
        histograms=_histograms(platform, project, manifest),
        galleries=_galleries(platform, config),
        class_colours=colours,
        release_link=Path(os.path.relpath(release_folder, folder)).as_posix(),
        reuploads=[asdict(found) for found in project_reuploads(platform, project)],
        withdrawn=withdrawn,
        cost=_cost_section(platform, project, version),
        evaluation=(
            evaluation_section(evaluation, dict(zip(manifest["classes"], colours, strict=True)))
            if evaluation is not None
            else None
        ),
    )
    html = render_report(content)
    with atomic_folder(folder) as partial:
        (partial / REPORT_PAGE_NAME).write_text(html, encoding="utf-8")
        (partial / REPORT_MARK_NAME).write_text(mark + sha256_of_file(partial / REPORT_PAGE_NAME), encoding="utf-8")
    return folder / REPORT_PAGE_NAME


def _cost_section(platform: Platform, project: str, version: str) -> CostSection | None:
    """Return the section on the cost of a release, or None if the cost was not measured."""
    rows = {row.version: row for row in find_releases(platform.database, project)}
    cost = rows[version].cost if version in rows else None
    if cost is None or not (lines := cost_rows(cost)):
        return None
    return CostSection(COST_COLUMNS, lines, cost_line(cost), sharing_line(cost))


def refresh_report(platform: Platform, config: ProjectConfig) -> Path | None:
    """Rewrite the report on the current release if it is out of date. The caller must hold the project's claim.

    For example, a withdrawal, a new evaluation or a new version of the report makes it out of date.

    Returns:
        The path of the page, or None if no release is current or its manifest is missing.

    Raises:
        DataMinerError: the manifest is damaged.
    """
    project = find_project(platform.database, config.name)
    version = project.released_version if project is not None else None
    manifest = read_manifest(platform.layout.release_folder(config.name, version)) if version is not None else None
    if manifest is None:
        return None
    rows = {row.version: row for row in find_releases(platform.database, config.name)}
    withdrawn = rows[version].withdrawn_reason if version in rows else None
    return write_report(platform, config, manifest, withdrawn=withdrawn)


def _shown_mark(folder: Path) -> str | None:
    """Return the mark of the existing report, which identifies its inputs.

    Return None if the mark or the page is missing, if the mark is not valid text, or if the page has been modified.
    """
    try:
        mark, newline, sha256 = (folder / REPORT_MARK_NAME).read_text(encoding="utf-8").rpartition("\n")
        return mark + newline if sha256 == sha256_of_file(folder / REPORT_PAGE_NAME) else None
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _whole_funnel(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all funnel steps at the time of a release, from its manifest. The project may have grown since."""
    of_release = [count.as_json() for count in release_steps(manifest)]
    for step in of_release:
        step["kinds"] = {name: number for name, number in step["kinds"].items() if number}
    return [*manifest["funnel"], *of_release]


def _galleries(platform: Platform, config: ProjectConfig) -> list[Gallery]:
    with StoredPictures(platform.config.extraction) as pictures:
        return _galleries_of(platform, config, pictures)


def _galleries_of(platform: Platform, config: ProjectConfig, pictures: PictureReader) -> list[Gallery]:
    project = config.name
    made: tuple[Callable[[], Gallery], ...] = (
        lambda: Gallery(
            "boxes",
            "Boxes",
            "Frames with boxes at or above the release's thresholds: the most confident of each class in turn.",
            _report_tiles(platform, pictures, detection_tiles(platform, config, TILES_PER_GALLERY)),
        ),
        lambda: Gallery(
            "kept",
            "Kept",
            "The kept frames most similar to the prompts. The number is the similarity to the prompt beside it.",
            _report_tiles(platform, pictures, kept_tiles(platform, config, TILES_PER_GALLERY)),
        ),
        lambda: Gallery(
            "threshold",
            "Near the threshold",
            "The frames that were kept or dropped most narrowly. If many of these decisions are wrong, so is the "
            "threshold. Judge more frames under Filter threshold to find the threshold for the precision or recall "
            "that you want:",
            _report_tiles(platform, pictures, narrow_tiles(platform, config, TILES_PER_GALLERY)),
            command=f"data-miner review {project}",
        ),
        lambda: Gallery(
            "dropped",
            "Dropped",
            "Dropped frames of each reason in turn, the most similar to the prompts first.",
            _report_tiles(platform, pictures, dropped_tiles(platform, project, TILES_PER_GALLERY)),
        ),
        lambda: Gallery(
            "duplicates",
            "Duplicates",
            "One row per group: the representative, then its nearest duplicates with their cosine similarity.",
            _report_tiles(platform, pictures, duplicate_tiles(platform, project, TILES_PER_GALLERY)),
            columns=COLUMNS,
        ),
    )
    galleries = [attempt_extra("report", f"a gallery of {project}", make) for make in made]
    return [gallery for gallery in galleries if not isinstance(gallery, ItemFault) and gallery.tiles]


_TILE_WH: Final = (640, 360)
"""The size of a tile in pixels. The gallery shows tiles at a smaller size, so they stay sharp when enlarged."""
_TILE_BYTES: Final = 24_000


def _report_tiles(platform: Platform, pictures: PictureReader, tiles: Sequence[Tile]) -> tuple[ReportTile, ...]:
    places = _places(platform, [tile.detail for tile in tiles if tile.image is not None])
    return tuple(
        ReportTile(
            data_uri(drawn_tile(tile, pictures, tile_wh=_TILE_WH, max_bytes=_TILE_BYTES)),
            tile.caption,
            tile.verdict.value,
            tile.detail,
            *places.get(tile.detail, ()),
        )
        if tile.image is not None
        else ReportTile("", "", "blank")
        for tile in tiles
    )


def _places(platform: Platform, frame_ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Map each frame id to its video and time as text, and to the address of that time in the video.

    The address is "" for local files and for addresses that contain a secret. Frames whose video or folder of frames
    was deleted are omitted.
    """
    wanted: dict[str, list[str]] = {}
    for frame_id in dict.fromkeys(frame_ids):
        wanted.setdefault(split_frame_id(frame_id)[0], []).append(frame_id)
    places = {}
    for video in find_videos(platform.database, list(wanted)):
        if not has_frames(platform.layout, video.key):
            continue
        seconds = read_frames(platform.layout, video.key, ["frame_index", "pts_seconds"]).to_pylist()
        second_of = {row["frame_index"]: row["pts_seconds"] for row in seconds}
        address = "" if video.origin is Origin.LOCAL else with_references(redact_url(video.url))
        for frame_id in wanted[video.key]:
            second = second_of.get(split_frame_id(frame_id)[1])
            if second is not None:
                # A redacted address would not work.
                link = address_at(address, second) if address == video.url else ""
                places[frame_id] = (f"{name_of_video(video)} at {clock_text(second)}", link)
    return places


def _histograms(platform: Platform, project: str, manifest: dict[str, Any]) -> list[Histogram]:
    layout = platform.layout
    drawn = []
    similarities = HistogramCounts(("kept", "dropped"), *_range_of(layout.filtered_table(project)))
    for batch in _batches(layout.filtered_table(project), ["positive_similarity", "is_kept"]):
        values = _floats(batch["positive_similarity"])
        is_kept = batch["is_kept"].to_numpy(zero_copy_only=False)
        similarities.add("kept", values[is_kept])
        similarities.add("dropped", values[~is_kept])
    if similarities.total:
        thresholds = sorted(
            {rule["threshold"] for rule in manifest["prompts"]["positive"] if rule["threshold"] is not None}
        )
        drawn.append(
            draw_histogram(
                similarities,
                title="Similarity to the positive prompts",
                note="Every sampled frame, by its similarity to the best positive prompt.",
                marks=[(threshold, f"{threshold:.3g}") for threshold in thresholds],
                legend=[("kept", "kept"), ("dropped", "dropped, for any reason")],
            )
        )
    cosines = HistogramCounts(("duplicates",), float(manifest["duplicates"]["threshold"]), 1.0)
    for batch in _batches(layout.deduplicated_table(project), ["similarity"]):
        cosines.add("duplicates", _floats(batch["similarity"]))
    if cosines.total:
        drawn.append(
            draw_histogram(
                cosines,
                title="Cosine of duplicates",
                note="The similarity of each duplicate to its representative. If many are at the left end, check them.",
                legend=[("duplicate", "removed as duplicates")],
            )
        )
    drawn += _confidence_histograms(layout.detections_table(project), manifest)
    return drawn


def _confidence_histograms(path: Path, manifest: dict[str, Any], most_classes: int = 6) -> list[Histogram]:
    counts = {name: HistogramCounts(("released", "below"), 0.0, 1.0) for name in manifest["classes"]}
    for batch in _batches(path, ["class_name", "confidence"]):
        for name in pc.unique(batch["class_name"]).to_pylist():
            if name in counts:
                confidences = batch["confidence"].filter(pc.equal(batch["class_name"], name)).to_numpy()
                passes = at_threshold(confidences, manifest["thresholds"][name])
                counts[name].add("released", confidences[passes].astype(np.float64))
                counts[name].add("below", confidences[~passes].astype(np.float64))
    largest = sorted((name for name in counts if counts[name].total), key=lambda name: (-counts[name].total, name))
    return [
        draw_histogram(
            counts[name],
            title=f"Confidence: {name}",
            note=f"The confidence that the detector returned for {counted(counts[name].total, 'box', 'boxes')}.",
            marks=[(manifest["thresholds"][name], f"{manifest['thresholds'][name]:.3g}")],
            legend=[("kept", "at or above the threshold"), ("neutral", "below the threshold: stored, not released")],
        )
        for name in largest[:most_classes]
    ]


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    return read_batches(path, columns) if path.is_file() else iter(())


def _floats(column: pa.Array) -> "np.ndarray[Any, np.dtype[np.float64]]":
    return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)


def _range_of(path: Path) -> tuple[float, float]:
    """Return the range of the similarities, slightly widened, or (0, 1) if the table is missing or has no similarities.

    The axis needs this range, because similarities differ by an order of magnitude between encoders.
    """
    low, high = np.inf, -np.inf
    for batch in _batches(path, ["positive_similarity"]):
        extremes = pc.min_max(batch["positive_similarity"]).as_py()
        if extremes["min"] is not None:
            low, high = min(low, extremes["min"]), max(high, extremes["max"])
    if not np.isfinite(low):
        return 0.0, 1.0
    margin = max(0.01, 0.04 * (high - low))
    return low - margin, high + margin
