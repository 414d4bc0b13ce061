"""The command `select`: choose the most useful images of a project within a budget."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from data_miner_dagster.cli.options import ConfigOption, JsonOption, ProjectArgument, RootOption, opened_existing
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.settings_to_write import settings_json, show_settings
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    from data_miner_dagster.operations.releasing.selecting import Selected


def select(  # noqa: PLR0913 - an option of a command is a parameter of its function
    project: ProjectArgument,
    count: Annotated[int, typer.Option("--count", min=1, help="The maximum number of images.")],
    diverse: Annotated[bool, typer.Option("--diverse", help="Prefer images that differ most from each other.")] = False,
    uncertain: Annotated[
        bool, typer.Option("--uncertain", help="Prefer images with a box just above its threshold.")
    ] = False,
    balance: Annotated[
        Literal["class"] | None,
        typer.Option(
            "--balance", help="First choose an equal number of images of each class, starting with the rarest."
        ),
    ] = None,
    max_per_video: Annotated[
        int | None, typer.Option("--max-per-video", min=1, help="The maximum number of images per video.")
    ] = None,
    max_per_channel: Annotated[
        int | None, typer.Option("--max-per-channel", min=1, help="The maximum number of images per channel.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write the ids of the chosen frames to this file, one per line.")
    ] = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write",
            help="Write these options into the project file; releases then contain only images chosen with them.",
        ),
    ] = False,
    json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Choose the most useful of the images that a project could release now, within a budget of --count images."""
    from data_miner_dagster.config.selecting import SelectionConfig
    from data_miner_dagster.operations.releasing.selecting import try_selection
    from data_miner_dagster.storage.atomic import atomic_path

    platform = opened_existing(root, config)
    wish = SelectionConfig(
        count=count,
        diverse=diverse,
        uncertain=uncertain,
        balance=balance,
        max_per_video=max_per_video,
        max_per_channel=max_per_channel,
    )
    found = try_selection(platform, project, wish)
    if to is not None:
        with atomic_path(to.expanduser()) as partial:
            partial.write_text("".join(f"{frame_id}\n" for frame_id in found.frame_ids), encoding="utf-8")
    settings = {"select": wish.model_dump(mode="json", exclude_defaults=True)}
    if json:
        written = settings_json(platform, project, "releasing", settings, is_to_be_written=write)
        print_json(found.as_json() | written)
        return
    _show(found, project, count)
    if to is not None:
        echo(f"the ids of the chosen frames are in {to}")
    show_settings(platform, project, "releasing", settings, is_to_be_written=write)


def _show(found: "Selected", project: str, count: int) -> None:
    rows = [(name, chosen, there) for name, (chosen, there) in found.images_by_class.items()]
    print_table(["images with", "chosen", "available"], rows, numbers=["chosen", "available"])
    echo(
        f"{project}: {len(found.frame_ids):,} of {counted(found.num_candidates, 'image')}, from "
        f"{counted(found.num_videos, 'video')}, "
        f"at most {found.most_of_a_video:,} from one video"
    )
    if len(found.frame_ids) < min(count, found.num_candidates):
        echo("fewer images than --count were chosen, because the limits per video and channel allow no more")
    if found.covering_radius is not None and found.radius_of_random is not None:
        echo(
            f"no image is farther than {found.covering_radius:.3f} (1 - cosine) from a chosen one, compared with "
            f"{found.radius_of_random:.3f} for the same number of random images"
        )
