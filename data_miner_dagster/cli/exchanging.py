"""The commands `review export`, `review import` and `review list`: exchange verdicts as files, and list them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    JsonOption,
    ProfileOption,
    ProjectArgument,
    RootOption,
    opened_existing,
    said_again,
    user_name,
)
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.round_trips import applying_line, receive, send
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.export.formats import ROUND_TRIP_FORMATS

if TYPE_CHECKING:
    from data_miner_dagster.domain.verdicts import Verdict
    from data_miner_dagster.operations.reviewing.exchange import ImportOutcome
    from data_miner_dagster.operations.reviewing.unmet import UnmetVerdict

_MOST_LISTED: Final = 100
_MOST_UNMET: Final = 10


def export_verdicts(
    project: ProjectArgument,
    to: Annotated[
        Path,
        typer.Option("--to", help="A file whose name ends in .csv or .parquet. With --for: a new or empty folder."),
    ],
    tool: Annotated[
        str | None,
        typer.Option(
            "--for", help=f"Export frames for review in another tool instead: {', '.join(ROUND_TRIP_FORMATS)}."
        ),
    ] = None,
    queue: Annotated[
        ReviewQueue | None,
        typer.Option("--queue", help="With --for: the queue to export, which must be about boxes. Default: unsure."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="With --for: export at most this many frames.")
    ] = None,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
) -> None:
    """Export all verdicts with their authors and times, including undone ones. With --for, export frames to review."""
    platform = opened_existing(root, config, profile)
    if tool is not None:
        send(platform, project, tool=tool, queue=queue, to=to.expanduser(), limit=limit)
        return
    if queue is not None or limit is not None:
        raise ConfigError("--queue and --limit choose frames for another tool; give the tool with --for")
    from data_miner_dagster.operations.reviewing import exchange

    num_verdicts = exchange.export_verdicts(platform, project, to.expanduser())
    echo(f"{project}: {counted(num_verdicts, 'verdict')} → {to}")


def import_verdicts(
    project: ProjectArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="A file from `review export`, a CSV with frame_id and answer, or, with --from, a tool's file."
        ),
    ],
    who: Annotated[
        str | None,
        typer.Option("--who", help="The author of the answers if the file names no author. Default: the current user."),
    ] = None,
    tool: Annotated[
        str | None,
        typer.Option(
            "--from", help=f"The tool that wrote the labels in the file: {', '.join((*ROUND_TRIP_FORMATS, 'coco'))}."
        ),
    ] = None,
    sent: Annotated[
        Path | None, typer.Option("--sent", help="With --from: the folder of the export that was sent.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="With --from: the release that was sent, such as v001.")
    ] = None,
    all_reviewed: Annotated[
        bool,
        typer.Option("--all-reviewed", help="With --from: state that a person has examined every image in the file."),
    ] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import the verdicts in a file, with their authors and times. With --from, import a tool's labels as verdicts.

    Stored verdicts are never replaced, but those that the file marks as undone are undone. If any line is invalid,
    nothing is stored.
    """
    platform = opened_existing(root, config, profile)
    if tool is not None:
        from data_miner_dagster.operations.reviewing.round_trips import ReturnedFile

        returned = ReturnedFile(file.expanduser(), tool, who or user_name(), all_reviewed)
        receive(platform, project, returned, sent=sent, version=version, as_json=as_json)
        return
    if sent is not None or version is not None or all_reviewed:
        raise ConfigError("--sent, --version and --all-reviewed apply to labels from a tool; give the tool with --from")
    from data_miner_dagster.operations.reviewing import exchange

    found = exchange.import_verdicts(platform, project, file.expanduser(), who=who or user_name())
    _print_import(project, found, as_json=as_json)


def _print_import(project: str, found: "ImportOutcome", *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "lines": found.num_lines,
                "new": found.num_new,
                "undone": found.num_undone,
                "unmet": [_unmet_json(one) for one in found.unmet],
                "unknown": list(found.unknown_frames),
            }
        )
        return
    undone = f", {found.num_undone} undone" if found.num_undone else ""
    echo(f"{project}: {counted(found.num_lines, 'answer')}, {found.num_new} of them new{undone}")
    if found.unknown_frames:
        number = len(found.unknown_frames)
        match = "answer matches" if number == 1 else "answers match"
        frame = found.unknown_frames[0]
        echo(f"left out: {number:,} {match} no frame of this project (for example, {frame})", err=True)
    if found.unmet:
        echo(
            f"{counted(len(found.unmet), 'verdict is stored but matches', 'verdicts are stored but match')} "
            "nothing in the project at present:",
            err=True,
        )
        for one in found.unmet[:_MOST_UNMET]:
            echo(f"  {one.verdict.frame_id}, {one.verdict.word.value}: {one.reason.value}", err=True)
        if len(found.unmet) > _MOST_UNMET:
            echo(
                f"  `data-miner review list {project} --unmet{said_again(with_config=True)}` lists all of them",
                err=True,
            )
    if found.num_new or found.num_undone:
        echo(applying_line())


def list_verdicts(
    project: ProjectArgument,
    unmet: Annotated[
        bool,
        typer.Option(
            "--unmet", help="List only verdicts that match nothing in the project at present, with the reason."
        ),
    ] = False,
    root: RootOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the latest hundred verdicts in force, latest first. With --json or --unmet, there is no limit."""
    from data_miner_dagster.catalog.verdicts import verdicts_in_force
    from data_miner_dagster.operations.reviewing.review import open_review

    platform = opened_existing(root, config, profile)
    review = open_review(platform, project)
    if unmet:
        _list_unmet(project, review.unmet(), as_json=as_json)
        return
    verdicts = verdicts_in_force(platform.database, project)[::-1]
    if as_json:
        print_json([_verdict_json(verdict) for verdict in verdicts])
        return
    if not verdicts:
        command = f"data-miner review {project}{said_again(with_config=True)}"
        echo(f"{project} has no verdicts in force; to give some, run `{command}`")
        return
    print_table(("given", "who", "verdict", "frame", "class"), [_cells(one) for one in verdicts[:_MOST_LISTED]])
    if len(verdicts) > _MOST_LISTED:
        command = f"data-miner review export {project} --to FILE.csv{said_again(with_config=True)}"
        echo(f"and {len(verdicts) - _MOST_LISTED:,} more; `{command}` writes all of them")


def _list_unmet(project: str, found: "tuple[UnmetVerdict, ...]", *, as_json: bool) -> None:
    if as_json:
        print_json([_unmet_json(one) for one in found])
        return
    if not found:
        echo(f"every verdict in force matches something in {project}")
        return
    columns = ("given", "who", "verdict", "frame", "class", "why")
    print_table(columns, [(*_cells(one.verdict), one.reason.value) for one in found])


def _cells(verdict: "Verdict") -> tuple[str, str, str, str, str]:
    name = verdict.new_class_name or (verdict.shown.class_name if verdict.shown else "")
    return (f"{verdict.given_at:%Y-%m-%d %H:%M}", verdict.who, verdict.word.value, verdict.frame_id, name)


def _unmet_json(one: "UnmetVerdict") -> dict[str, object]:
    return {**_verdict_json(one.verdict), "reason": one.reason.name.lower()}


def _verdict_json(verdict: "Verdict") -> dict[str, object]:
    # Imported here because only --json needs it.
    from data_miner_dagster.domain.json_records import as_json as record_json

    return record_json(verdict)
