"""The command `similar`: find frames that resemble a frame, a picture or words."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProfileOption,
    ProjectOption,
    RootOption,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, print_json, print_table, shortened
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from data_miner_dagster.operations.embedding.similar_frames import SimilarFrames

_MOST_ROWS = 100


def similar(  # noqa: PLR0913 - an option of a command is a parameter of its function
    what: Annotated[
        str,
        typer.Argument(
            metavar="FRAME|IMAGE|TEXT", help="A frame (`<video key>/000012`), the path of a picture, or words."
        ),
    ],
    count: Annotated[
        int, typer.Option("--count", min=1, max=100_000, help="The maximum number of frames to find.")
    ] = 100,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Write a contact sheet of the most similar frames to this file.")
    ] = None,
    project: ProjectOption = None,
    json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """Find the frames that are most similar to a frame, a picture or words, among all frames with embeddings."""
    from data_miner_dagster.operations.embedding.similar_frames import find_similar

    found = find_similar(opened_existing(root, config, profile), what, count=count, project=project)
    if sheet is not None:
        _write_sheet(found, sheet)
    if json:
        print_json(_as_json(found))
        return
    _show(found)
    if sheet is not None:
        echo(f"contact sheet: {sheet}")


def _as_json(found: "SimilarFrames") -> dict[str, object]:
    return {
        "query": found.query,
        "encoder": found.encoder,
        "videos": found.num_videos,
        "without_embeddings": found.num_without_embeddings,
        "left_out": list(found.left_out),
        "frames": [
            {
                "frame_id": frame.frame_id,
                "cosine": round(frame.cosine, 6),
                "video": frame.video_name,
                "pts_seconds": frame.pts_seconds,
                "address": frame.address,
                "picture": str(frame.picture.path) if frame.picture is not None else None,
            }
            for frame in found.frames
        ],
    }


def _show(found: "SimilarFrames") -> None:
    rows = [
        (
            number,
            f"{frame.cosine:.3f}",
            shortened(frame.video_name, 40),
            "" if frame.pts_seconds is None else f"{frame.pts_seconds:.1f}",
            frame.frame_id,
            frame.address,
        )
        for number, frame in enumerate(found.frames[:_MOST_ROWS], start=1)
    ]
    numbers = ["", "cosine", "second"]
    print_table(["", "cosine", "video", "second", "frame", "address"], rows, numbers=numbers)
    echo(
        f"the {counted(len(found.frames), 'frame')} most similar to {found.query}; "
        f"{counted(found.num_videos, 'video')} searched"
    )
    if len(found.frames) > _MOST_ROWS:
        echo(f"only the first {_MOST_ROWS} frames are shown; --json lists all")
    if found.num_without_embeddings:
        without = counted(found.num_without_embeddings, "video")
        echo(f"left out: {without} without embeddings from {found.encoder} so far")
    for line in found.left_out:
        echo(f"left out: {line}", err=True)


def _write_sheet(found: "SimilarFrames", path: Path) -> None:
    from data_miner_dagster.media.contact_sheets import Verdict
    from data_miner_dagster.operations.trials import Trial, TrialRow, write_contact_sheet

    rows = [
        TrialRow(frame.picture.path, (), f"{frame.cosine:.3f} {frame.video_name}", Verdict.KEPT)
        for frame in found.frames
        if frame.picture is not None
    ]
    write_contact_sheet(Trial(title=found.query, columns=(), rows=tuple(rows), summary=""), path)
