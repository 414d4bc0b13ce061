"""The summary at the end of a run: the funnel, the paths of the release and the report, and the next step."""

from shlex import quote
from typing import Final

from rich.table import Table
from rich.text import Text

from data_miner_dagster.catalog.listings import remarkable_listings
from data_miner_dagster.catalog.schema import VideoRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.cli.progress import console
from data_miner_dagster.domain.phrases import phrase_of
from data_miner_dagster.operations.naming import left_out_text, name_of_video, num_pictures_left_out
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.reporting.costs import project_cost
from data_miner_dagster.operations.reporting.funnel import Funnel, project_funnel
from data_miner_dagster.stages.costs import cost_line

_MOST_OF_A_REASON: Final = 3
"""The maximum number of videos shown per reason. A site that refuses requests can affect many videos."""


def funnel_table(funnel: Funnel) -> Table:
    """Return a funnel as a table for the terminal."""
    table = Table(title=f"{funnel.project}", title_justify="left", box=None, pad_edge=False)
    table.add_column("step")
    table.add_column("count", justify="right")
    table.add_column("reasons", overflow="fold")
    for step, count, remark in funnel.as_rows():
        table.add_row(step, count, remark)
    return table


def print_summary(platform: Platform, project: str) -> None:
    """Print the funnel, and remarks about sources and videos.

    If there is a release, also print its paths, its cost and the next commands.
    """
    funnel = project_funnel(platform, project)
    console.print()
    console.print(funnel_table(funnel))
    console.print()
    for listing in remarkable_listings(platform.database, project):
        remark = "; ".join(filter(None, (listing.error, listing.passed_over)))
        console.print(Text.assemble((f"{listing.source} {listing.query}", "yellow"), f": {remark}"))
    _print_videos(platform, project)
    if warning := funnel.waiting_warning:
        console.print(Text.assemble(("warning", "yellow"), f": {warning}"))
    if funnel.release is not None:
        console.print(f"release  {platform.layout.release_folder(project, funnel.release)}")
        report = platform.layout.report_page(project)
        console.print(f"report   {report if report.is_file() else 'not written; the log says why'}")
        console.print(f"cost     {cost_line(project_cost(platform, project).as_json())}")
        for number, line in enumerate(next_lines(platform, project)):
            console.print(f"{'next' if not number else '':8} {line}")


def next_lines(platform: Platform, project: str) -> list[str]:
    """Return the commands to suggest after a release, each with its purpose."""
    root = f" --root {quote(str(platform.root))}"
    return [
        f"data-miner review {project}{root}: answer the most useful questions, and find thresholds",
        f"data-miner export {project} --to FOLDER{root}: copy the verified release to where you train",
        f"data-miner up{root}: see everything in the browser, and run the project files in the watched folder",
    ]


def _print_videos(platform: Platform, project: str) -> None:
    videos = find_videos(platform.database, project=project)
    by_reason: dict[str, list[VideoRow]] = {}
    for row in videos:
        if row.error_kind is not None:
            when = f"; it is retried after {row.retry_after:%Y-%m-%d %H:%M} UTC" if row.retry_after else ""
            by_reason.setdefault(f"{phrase_of(row.error_kind.value)}: {row.error}{when}", []).append(row)
    for reason, rows in by_reason.items():
        for row in rows[:_MOST_OF_A_REASON]:
            console.print(Text.assemble((name_of_video(row), "yellow"), f" ({row.key}): {reason}"))
        if len(rows) > _MOST_OF_A_REASON:
            command = f"data-miner videos --failed --project {project} --root {quote(str(platform.root))}"
            console.print(f"and {len(rows) - _MOST_OF_A_REASON} more for this reason; `{command}` lists them")
    most_frames = platform.config.extraction.max_frames_per_video
    for row in videos:
        if num_left_out := num_pictures_left_out(row, most_frames):
            text = f" ({row.key}): {left_out_text(num_left_out)}"
            console.print(Text.assemble((name_of_video(row), "yellow"), text))
