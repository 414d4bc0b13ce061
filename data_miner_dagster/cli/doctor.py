"""The command `doctor`: compare the catalog, the files and Dagster's partitions, and repair differences."""

from typing import TYPE_CHECKING, Annotated

import typer

from data_miner_dagster.cli.options import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    RootOption,
    opened,
    opened_existing,
)
from data_miner_dagster.cli.output import echo, print_json, print_table
from data_miner_dagster.cli.rebuilding import unfinished_rebuilds
from data_miner_dagster.cli.room import room_lines
from data_miner_dagster.cli.standstill import needs_somebody, print_standing_still, standing_still
from data_miner_dagster.cli.upgrading import frames_lines, project_lines
from data_miner_dagster.cli.warnings import platform_warnings
from data_miner_dagster.domain.phrases import counted

if TYPE_CHECKING:
    import dagster as dg

    from data_miner_dagster.operations.platform import Platform
    from data_miner_dagster.operations.upkeep.inspection import Finding


def doctor(
    environment: Annotated[
        bool,
        typer.Option(
            "--environment", help="Check the machine instead: disk, database, models, GPU, DAGSTER_HOME and clock."
        ),
    ] = False,
    fix: Annotated[bool, typer.Option("--fix", help="Repair what can be repaired safely.")] = False,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Compare the catalog, the files and Dagster's partitions, and list projects that are stuck.

    The exit status is 1 if anything still needs repair, or if a project or project file needs your attention.
    """
    if environment:
        _show_environment(opened(root, config), json=json)
        return
    from data_miner_dagster.catalog.failures import damaged_catalog, quick_check
    from data_miner_dagster.operations.upkeep.inspection import inspect_platform

    platform = opened_existing(root, config)
    if why := quick_check(platform.layout.catalog_file):
        raise damaged_catalog(platform.layout.catalog_file, why)
    findings = [*inspect_platform(platform), *partition_findings(platform, fix=False)]
    fix = fix and not dry_run
    num_mended = _mended(platform, findings, json=json) if fix and findings else 0
    warnings = platform_warnings()
    upgrades = [*project_lines(platform), *frames_lines(platform), *room_lines(platform)]
    rebuilds, still = unfinished_rebuilds(platform), standing_still(platform)
    left = [*inspect_platform(platform), *partition_findings(platform, fix=False)] if fix else findings
    if json:
        content = [
            {"drift": item.drift.value, "subject": item.subject, "remedy": item.remedy, "is_fixable": item.is_fixable}
            for item in findings
        ]
        numbers = {"num_mended": num_mended, "num_left": len(left)}
        told = {"standing_still": still, "upgrades": upgrades, "unfinished_rebuilds": rebuilds, "warnings": warnings}
        print_json({"findings": content, **numbers, **told})
    elif findings:
        num_fixable = sum(item.is_fixable for item in findings)
        print_table(["what", "where", "remedy"], [[item.drift.value, item.subject, item.remedy] for item in findings])
        echo(
            f"{counted(len(findings), 'difference')} found, {num_mended} fixed, {len(left)} left"
            + (f"; --fix can repair {num_fixable}" if num_fixable and not fix else "")
        )
    else:
        echo("catalog, files and partitions agree")
    if not json:
        print_standing_still(still)
        for line in (*upgrades, *(rebuild["line"] for rebuild in rebuilds)):
            echo(f"note: {line}")
        for warning in warnings:
            echo(f"warning: {warning}", err=True)
    if left or needs_somebody(still):
        raise typer.Exit(1)


def _mended(platform: "Platform", findings: "list[Finding]", *, json: bool) -> int:
    from data_miner_dagster.operations.upkeep.inspection import mend_platform

    if not json:
        echo(f"fixing {sum(item.is_fixable for item in findings)} of {counted(len(findings), 'difference')}")
    num_partitions = sum(item.is_fixable for item in partition_findings(platform, fix=True))
    return mend_platform(platform, findings) + num_partitions


def _show_environment(platform: "Platform", *, json: bool) -> None:
    """Print the state of each part of the environment, with any remedy. If a part has a problem, exit with status 1."""
    from data_miner_dagster.deployment import home_part, launcher_part
    from data_miner_dagster.operations.upkeep.environment import State, inspect_environment

    launcher = launcher_part(platform)
    parts = [*inspect_environment(platform), home_part(platform.layout), *([] if launcher is None else [launcher])]
    if json:
        print_json([{"what": p.what, "state": p.state.value, "value": p.value, "remedy": p.remedy} for p in parts])
    else:
        for part in parts:
            remedy = f"; {part.remedy}" if part.remedy else ""
            echo(f"{part.state.value:8} {part.what}: {part.value}{remedy}")
    if any(part.state is State.PROBLEM for part in parts):
        raise typer.Exit(1)


def partition_findings(platform: "Platform", *, fix: bool) -> "list[Finding]":
    """Return the differences between Dagster's dynamic partitions and the catalog. With `fix`, also repair them.

    Repaired differences are returned too. Without a Dagster instance, the list is empty. A partition that is not in
    the catalog is kept while a run may be working on it. The finding about it is then not fixable.

    Raises:
        ConfigError: Dagster's settings or one of its databases cannot be used.
    """
    from data_miner_dagster.cli.dagster_history import open_history

    with open_history(platform) as instance:
        return [] if instance is None else _partition_findings(platform, instance, fix=fix)


def _partition_findings(platform: "Platform", instance: "dg.DagsterInstance", *, fix: bool) -> "list[Finding]":
    from data_miner_dagster.catalog.projects import find_projects
    from data_miner_dagster.catalog.videos import wanted_videos
    from data_miner_dagster.history.partition_keys import find_stray_keys, keys_not_in_use, remove_stray_keys
    from data_miner_dagster.operations.upkeep.inspection import Discrepancy, Finding
    from data_miner_dagster.partitions import PROJECTS, VIDEOS, add_partitions

    findings = []
    strays = find_stray_keys(platform, instance)
    wanted = {
        PROJECTS: {row.name for row in find_projects(platform.database)},
        VIDEOS: {video.key for video in wanted_videos(platform.database)},
    }
    for definition, keys in wanted.items():
        name = str(definition.name)
        for key in sorted(keys - set(instance.get_dynamic_partitions(name))):
            findings.append(Finding(Discrepancy.PARTITION_MISSING, f"{name}: {key}", "add it to Dagster"))
        free = set(keys_not_in_use(instance, name, strays[name]))
        for key in sorted(strays[name]):
            remedy = "remove it from Dagster" + ("" if key in free else " once no active run uses it")
            findings.append(Finding(Discrepancy.PARTITION_STRAY, f"{name}: {key}", remedy, is_fixable=key in free))
        if fix:
            add_partitions(instance, definition, keys)
    if fix:
        remove_stray_keys(platform, instance)
    return findings
