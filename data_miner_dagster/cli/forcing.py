"""Commands that rerun one stage of a project even if its result is current: `force-dedup`, `force-detect`."""

from typing import TYPE_CHECKING

from data_miner_dagster.cli.options import (
    ConfigOption,
    ProfileOption,
    ProjectArgument,
    RootOption,
    opened_existing,
    said_again,
)
from data_miner_dagster.cli.output import echo, print_table
from data_miner_dagster.domain.phrases import phrase_of

if TYPE_CHECKING:
    from data_miner_dagster.domain.records import ProjectOutcome


def force_dedup(
    project: ProjectArgument, root: RootOption = None, config: ConfigOption = None, profile: ProfileOption = None
) -> None:
    """Deduplicate all kept frames of a project from scratch, in this process."""
    from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project

    _print_outcome(deduplicate_project(opened_existing(root, config, profile), project, force=True))


def force_detect(
    project: ProjectArgument, root: RootOption = None, config: ConfigOption = None, profile: ProfileOption = None
) -> None:
    """Run the detectors again on all representatives of a project, in this process."""
    from data_miner_dagster.operations.detection.detect_project import detect_project

    _print_outcome(detect_project(opened_existing(root, config, profile), project, force=True))


def _print_outcome(outcome: "ProjectOutcome") -> None:
    counts = [(phrase_of(name), number) for name, number in outcome.counts.items()]
    print_table([outcome.project, "count"], counts, numbers=["count"])
    echo(
        f"next: run `data-miner run --config FILE{said_again()}` to finish the build; a running `data-miner up` does "
        "this automatically"
    )
