"""List the project files that were refused and the projects with a failed stage. Either may need a person to act."""

from shlex import quote
from typing import TYPE_CHECKING

from data_miner_dagster.cli.options import said_again
from data_miner_dagster.cli.output import echo
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.statuses import ProjectStage

if TYPE_CHECKING:
    from data_miner_dagster.operations.platform import Platform


def standing_still(platform: "Platform", project: str | None = None) -> "list[dict[str, object]]":
    """Return a row for each refused project file and each project with a failed stage.

    With `project`, only that project is considered, and refused project files are omitted. `needs_you` means that
    nothing happens until a person acts.
    """
    from data_miner_dagster.sensors.project_files import refused_files
    from data_miner_dagster.sensors.states import stopped_projects

    refused = [] if project is not None else refused_files(platform)
    rows: list[dict[str, object]] = [
        {
            "project": None,
            "stage": None,
            "cause": line,
            "run_id": None,
            "next_try": None,
            "remedy": "correct the file; a running `data-miner up` reloads it as soon as it is saved",
            "needs_you": True,
            "message": f"project file refused: {line}; correct the file, which a running `data-miner up` reloads",
        }
        for line in refused
    ]
    for stopped in stopped_projects(platform):
        if project not in (None, stopped.name):
            continue
        failed = stopped.failed
        rows.append(
            {
                "project": stopped.name,
                "stage": failed.stage.value.lower(),
                "cause": failed.message,
                "run_id": failed.run_id,
                "next_try": None if failed.due_at is None else f"{failed.due_at:%Y-%m-%dT%H:%M:%SZ}",
                "remedy": failed.remedy(stopped.name, stopped.config_file),
                "needs_you": failed.due_at is None,
                "message": stopped.line,
            }
        )
    return rows


def print_standing_still(rows: "list[dict[str, object]]") -> None:
    """Print one line for each row of `standing_still`."""
    for row in rows:
        echo(f"{'NEEDS YOU' if row['needs_you'] else 'FAILED'}  {row['message']}")


def print_next(platform: "Platform", projects: "list[dict[str, object]]", still: "list[dict[str, object]]") -> None:
    """For each project, print the path of its latest release's report, if there is one, and the most useful command.

    No command is printed for a complete project without a release, or for a failed project, whose remedy
    `print_standing_still` prints. If there are no projects, the command that starts one is printed.
    """
    from data_miner_dagster.catalog.projects import find_projects

    again = said_again()
    if not projects:
        echo("next: run `data-miner init` to write a project file")
    failed = {row["project"] for row in still}
    files = {row.name: row.config_file for row in find_projects(platform.database)}
    for row in projects:
        name, report = str(row["name"]), platform.layout.report_page(str(row["name"]))
        if row["release"] is not None and report.is_file():
            echo(f"{name} {row['release']}: report {report}")
        if name in failed:
            continue  # print_standing_still prints the remedy
        if row["stage"] != ProjectStage.COMPLETE.value:
            file = quote(files.get(name) or "FILE")
            run = f"data-miner run --config {file}{again}"
            echo(f"next: run `{run}` to build {name}; a running `data-miner up` does this automatically")
        elif row["release"] is not None:
            waiting = int(str(row["waiting_for_review"]))
            why = f" ({counted(waiting, 'frame is', 'frames are')} waiting for it)" if waiting else ""
            options = said_again(with_config=True)
            export = f"data-miner export {name} --to FOLDER{options}"
            echo(f"next: run `data-miner review {name}{options}`{why}, or `{export}`")


def needs_somebody(rows: "list[dict[str, object]]") -> bool:
    """Return whether any row needs a person to act."""
    return any(row["needs_you"] for row in rows)
