"""The command `plan`: forecast the cost and the results of a project before anything is downloaded."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import JsonOption, ProfileOption, RootOption, platform_options, said_again
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.domain.phrases import counted, phrase_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from data_miner_dagster.operations.reporting.forecast import Plan


def plan(
    file: Annotated[Path, typer.Argument(help="The project file.")],
    as_json: JsonOption = False,
    root: RootOption = None,
    profile: ProfileOption = None,
) -> None:
    """Forecast the cost and results of a project. Its sources are listed, but nothing is downloaded or stored."""
    from data_miner_dagster.config.loading import load_project_file
    from data_miner_dagster.operations.preflight import check_paths
    from data_miner_dagster.operations.reporting.forecast import plan_project

    platform = platform_options(root, file, profile).open()
    project = load_project_file(file).project
    check_paths(project, file.absolute().parent)
    found = plan_project(platform, project, file.absolute())
    if as_json:
        print_json(found.as_json())
        return
    print_table(("what", "how much", "based on"), list(_rows(found)), numbers=("how much",))
    for listing in found.listing.failed:
        echo(f"{listing.source} {listing.query} was not listed in full: {listing.error}")
    echo(_last_line(found, file))


def _rows(found: "Plan") -> "Iterator[tuple[str, str, str]]":
    from data_miner_dagster.domain.sizes import size_text

    listing, forecast, rates = found.listing, found.forecast, found.forecast.rates
    yield "candidates listed", f"{listing.num_listed:,}", f"{counted(listing.num_requests, 'request')} just now"
    yield "videos accepted", f"{forecast.num_videos:,}", "; ".join(_not_accepted(found))
    yield "  of these to download", f"{forecast.num_to_download:,}", _sites(forecast.downloads_by_site)
    unknown = forecast.num_unknown_durations
    guessed = f"{unknown:,} of unknown duration ({rates.seconds_per_video.origin})" if unknown else "as listed"
    yield "hours of video", f"{forecast.hours:,.1f}" if forecast.hours >= 1 else f"{forecast.hours:.2g}", guessed
    yield "requests to sites", f"{forecast.num_requests:,}", rates.requests_per_video.origin
    slowest = (
        f"budgets and pauses of {forecast.slowest_site}" if forecast.slowest_site else "no site limits the requests"
    )
    yield "days at least", f"{forecast.days:,.2f}", slowest
    yield "space for videos", size_text(forecast.videos_bytes), rates.bytes_per_second.origin
    yield "space for frames", size_text(forecast.frames_bytes), rates.bytes_per_frame.origin
    yield "frames sampled", f"{forecast.num_frames:,}", rates.frames_per_second.origin
    if found.num_neighbours is not None:
        around = "over whole clips" if found.follows_whole_clips else "around the expected images"
        by = "each detector" if found.video_tracker is None else f"the tracker {found.video_tracker}"
        yield "pictures to follow objects", f"{found.num_neighbours:,}", f"{around}, for {by} to examine"
        yield "space for these pictures", size_text(found.neighbours_bytes), rates.bytes_per_frame.origin
    if found.video_tracker is not None:
        examined = f"these pictures and the images, one by one, through {found.video_tracker}"
        yield "passes of the tracker", f"{found.num_tracked:,}", examined
    yield "images to expect", f"{forecast.num_images:,}", rates.images_per_frame.origin
    yield "boxes to expect", f"{forecast.num_boxes:,}", rates.boxes_per_image.origin
    if (most := found.verification) is not None:
        yield "boxes to verify at most", "unknown" if most.num_boxes is None else f"{most.num_boxes:,}", most.boxes_by
        yield "cost of verifying at most", "unknown" if most.cost is None else f"{most.cost:,.4g}", most.cost_by


def _not_accepted(found: "Plan") -> "Iterator[str]":
    """Yield the numbers of videos that are not accepted, by reason, and a remark if thumbnails will be checked too."""
    listing = found.listing
    lost = [
        *((number, phrase_of(rule.value)) for rule, number in listing.num_by_rule.items()),
        (listing.num_repeated, "listed more than once"),
        (listing.num_forgotten, "removed on request"),
        (found.num_given_up, "given up after earlier failures"),
    ]
    if any(number for number, _ in lost):
        yield "not accepted: " + ", ".join(f"{number:,} {reason}" for number, reason in lost if number)
    if found.prescreens:
        yield "the thumbnail check may reject more"


def _sites(by_site: "Mapping[str, int]") -> str:
    return ", ".join(f"{site} {number:,}" for site, number in by_site.items())


def _last_line(found: "Plan", file: Path) -> str:
    if not found.forecast.num_videos:
        return "no video would be accepted, for the reasons shown above; change the project's rules or its sources"
    return f"no video was fetched; next: run `data-miner run --config {quote(str(file))}{said_again()}`"
