"""Commands that show the origin of an image in a release, and the changes between two releases: `trace`, `diff`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProjectArgument,
    ProjectOption,
    RootOption,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.domain.phrases import counted, phrase_of

if TYPE_CHECKING:
    from data_miner_dagster.export.records import ReleaseBox
    from data_miner_dagster.operations.releasing.provenance import ImageProvenance

_MOST_LINES = 20


def trace(
    what: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE|BOX",
            help="A file of a release or export, a frame (`<video key>/000012`), `image:12`, or `box:34`.",
        ),
    ],
    project: ProjectOption = None,
    version: Annotated[str | None, typer.Option("--version", help="The release. Default: the current one.")] = None,
    json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Show where an image of a release comes from, and why the release contains it and each of its boxes."""
    from data_miner_dagster.operations.releasing.provenance import trace_image

    found = trace_image(opened_existing(root, config), what, project=project, version=version)
    if json:
        print_json(found.as_json())
        return
    for line in _lines_of(found):
        echo(line)
    if found.image.boxes:
        echo("")
        columns = ["box", "class", "confidence", "threshold", "x, y, x, y", "phrase", "detector", "verdict"]
        rows = [_row_of(found, *pair) for pair in zip(found.annotation_ids, found.image.boxes, strict=True)]
        print_table(columns, rows, numbers=["box", "confidence", "threshold"])
    if found.runs:
        echo("")
        rows = [
            (run.stage.value.lower(), f"{run.measured_at:%Y-%m-%d %H:%M}", run.run_id or "outside of Dagster")
            for run in found.runs
        ]
        print_table(["stage", "worked on it at", "run"], rows)


def diff(
    project: ProjectArgument,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A release, such as v001.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A later release, such as v002.")],
    json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the changes between two releases of a project: images, boxes, videos, splits and settings."""
    from dataclasses import asdict

    from data_miner_dagster.operations.releasing.standing import difference_between

    found = difference_between(opened_existing(root, config), project, before, after)
    if json:
        print_json(asdict(found))
        return
    echo(f"{project} {found.after} {found.as_line}; {counted(found.num_images_kept, 'image is', 'images are')} in both")
    changed = [(name, old, new, f"{new - old:+,}") for name, (old, new) in found.boxes_by_class.items() if old != new]
    if changed:
        print_table(["boxes of", found.before, found.after, "change"], changed, numbers=[found.before, found.after])
    _echo_list("video added", found.videos_added)
    _echo_list("video removed", found.videos_removed)
    _echo_list("video moved", [f"{key}: {old} → {new}" for key, old, new in found.videos_moved])
    _echo_list("setting", [f"{name}: {old} → {new}" for name, old, new in found.settings])


def _echo_list(what: str, lines: "tuple[str, ...] | list[str]") -> None:
    for line in lines[:_MOST_LINES]:
        echo(f"{what}: {line}")
    if len(lines) > _MOST_LINES:
        echo(f"{what}: {len(lines) - _MOST_LINES:,} more; --json lists them")


def _lines_of(found: "ImageProvenance") -> Iterator[str]:
    image, video = found.image, found.video
    yield f"image {image.image_id} of {found.project} {found.version}: {image.path_in_release}"
    yield f"  file       {image.width}x{image.height}, {image.size_bytes:,} bytes, sha256 {image.sha256}"
    grouped = f", with videos of the group {video.group}" if video.group != video.video_key else ""
    yield f"  split      {image.split}{grouped}"
    yield f"  video      {video.title or video.video_key} ({video.video_key})"
    yield f"             {found.address}"
    uploaded = f", uploaded {video.upload_date}" if video.upload_date else ""
    yield f"             channel {video.channel or 'unknown'}, licence {video.licence or 'unknown'}{uploaded}"
    yield f"             sha256 {video.sha256 or 'unknown'}; found by {video.source}: {video.query}"
    exact = f"pts {image.pts} x {image.time_base_numerator}/{image.time_base_denominator} s"
    yield f"  frame      {image.frame_id}, at {image.pts_seconds:.3f} s ({exact})"
    yield f"  kept       similarity {image.similarity:.3f} to {image.similar_prompt!r}; sharpness {image.sharpness:.1f}"
    others = [f"{value:.3f} {text!r}" for text, value in found.similarities.items() if text != image.similar_prompt]
    if others:
        yield f"             other prompts: {', '.join(others)}"
    yield f"  represents {counted(image.num_duplicates, 'duplicate')}"
    for duplicate in found.duplicates[:_MOST_LINES]:
        alike = f", cosine {duplicate.similarity:.3f}" if duplicate.similarity is not None else ""
        yield f"             {duplicate.frame_id} ({phrase_of(duplicate.tier or '')}{alike})"
    if (num_more := len(found.duplicates) - _MOST_LINES) > 0:
        yield f"             {num_more:,} more; --json lists them"
    for verdict in found.verdicts:
        about = f" {verdict.final_class_name}" if verdict.final_class_name else ""
        yield f"  verdict    {verdict.word.value}{about}: {verdict.who}, {verdict.given_at:%Y-%m-%d %H:%M}"


def _row_of(found: "ImageProvenance", annotation_id: int, box: "ReleaseBox") -> tuple[object, ...]:
    said = {verdict.answer_id: verdict for verdict in found.verdicts}.get(box.answer_id or "")
    who = f" ({said.who})" if said is not None else ""
    return (
        annotation_id,
        f"{box.class_name} (unsure)" if box.is_unsure else box.class_name,
        f"{box.confidence:.3f}",
        f"{found.thresholds[box.class_name]:.3f}",
        ", ".join(f"{value:.1f}" for value in box.box_xyxy),
        box.prompt,
        box.detector + (f" and {box.num_agreeing_detectors - 1} more" if box.num_agreeing_detectors > 1 else ""),
        ", ".join(filter(None, (f"{box.verdict}{who}" if box.verdict else "", _verifier_said(box)))),
    )


def _verifier_said(box: "ReleaseBox") -> str:
    return f"{box.verifier_verdict.replace('_', ' ')} (verifier)" if box.verifier_verdict else ""
