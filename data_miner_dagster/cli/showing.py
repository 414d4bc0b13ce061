"""Commands that only read: `status`, `projects`, `videos`."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from data_miner_dagster.cli.options import ConfigOption, JsonOption, ProjectOption, RootOption, opened_existing
from data_miner_dagster.cli.output import echo, print_json, print_table, shortened
from data_miner_dagster.cli.reuploads import print_reuploads, project_reuploads_content
from data_miner_dagster.cli.room import print_room, room_content
from data_miner_dagster.cli.standstill import needs_somebody, print_next, print_standing_still, standing_still
from data_miner_dagster.cli.warnings import platform_warnings
from data_miner_dagster.cli.watching import watch
from data_miner_dagster.domain.phrases import counted, phrase_of, phrase_of_stage
from data_miner_dagster.domain.statuses import ProjectStage

if TYPE_CHECKING:
    from datetime import datetime

    from data_miner_dagster.catalog.schema import ClaimRow, ProjectRow, VideoRow
    from data_miner_dagster.operations.platform import Platform

_ALL: Final = 2**31 - 1


def status(
    project: ProjectOption = None,
    watching: Annotated[
        bool, typer.Option("--watch", help="Print the progress repeatedly until no work is due or in progress.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="With --watch: the seconds between two checks.")
    ] = 10.0,
    json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """Show the state of the root: projects, videos by status and reason, progress, and active workers.

    The exit status is 1 if a project or a project file needs your attention.
    """
    from data_miner_dagster.operations.progress import standing_of

    platform = opened_existing(root, config)
    if project is not None:
        platform.project_config(project)  # raises for an unknown name
    if watching:
        watch(platform, project, interval)
        return
    standing = standing_of(platform, project)
    content = _status(platform, project)
    if project is not None:
        content["reuploads"] = project_reuploads_content(platform, project)
    content["room"] = room_content(platform)
    content["progress"] = standing.as_json()
    content["standing_still"] = standing_still(platform, project)
    if json:
        print_json(content)
    else:
        _print_status(platform, project, content, standing.lines)
    if needs_somebody(content["standing_still"]):
        raise typer.Exit(1)


def _print_status(
    platform: "Platform",
    project: str | None,
    content: "dict[str, list[dict[str, object]]]",
    progress: "list[str]",
) -> None:
    echo(f"root {platform.root}")
    _print_projects(content["projects"], content["standing_still"])
    print_standing_still(content["standing_still"])
    print_next(platform, content["projects"], content["standing_still"])
    echo("")
    columns = ["videos that are", "reason", "count", "failed repeatedly", "next try"]
    rows = [list(_with_words(row).values()) for row in content["videos"]]
    print_table(columns, rows, numbers=["count", "failed repeatedly"])
    if project is not None:
        echo("")
        rows = [list(_with_words(row).values()) for row in content["members"]]
        print_table(["in the project", "reason", "count"], rows, numbers=["count"])
        _print_funnel(platform, project)
        print_reuploads(content["reuploads"])
    if content["sources"]:
        echo("")
        rows = [[row["project"], f"{row['source']} {row['query']}", row["remark"]] for row in content["sources"]]
        print_table(["project", "source", "remark"], rows)
    print_room(content["room"])
    for line in progress:
        echo(f"progress: {line}")
    _print_obstacles(content)


def projects(json: JsonOption = False, root: RootOption = None, config: ConfigOption = None) -> None:
    """List the projects with their stage, videos, latest release and errors.

    The exit status is 1 if a project needs your attention.
    """
    platform = opened_existing(root, config)
    found = _projects(platform, None)
    still = {row["project"]: row for row in standing_still(platform) if row["project"] is not None}
    for row in found:
        row["standing_still"] = still.get(row["name"])
    if json:
        print_json(found)
    else:
        _print_projects(found, list(still.values()))
        print_standing_still(list(still.values()))
    if needs_somebody(list(still.values())):
        raise typer.Exit(1)


def videos(
    project: ProjectOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="List only failed and unavailable videos.")] = False,
    status: Annotated[
        str | None, typer.Option("--status", help="List only videos with this status. Overrides --failed.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="List at most this many videos.")] = None,
    after: Annotated[str, typer.Option("--after", help="List only videos after this key, for the next page.")] = "",
    json: JsonOption = False,
    root: RootOption = None,
    config: ConfigOption = None,
) -> None:
    """List videos with their status and its reason, ordered by key."""
    from data_miner_dagster.catalog.videos import find_videos_after
    from data_miner_dagster.config.problems import did_you_mean
    from data_miner_dagster.domain.errors import ConfigError
    from data_miner_dagster.domain.statuses import VideoStatus

    platform = opened_existing(root, config)
    if project is not None:
        platform.project_config(project)
    platform.remember_references()
    statuses = {VideoStatus.FAILED, VideoStatus.UNAVAILABLE} if failed else None
    if status is not None:
        known = [known.value for known in VideoStatus]
        if status.upper() not in known:
            raise ConfigError(f"--status {status!r} is not a status{did_you_mean(status.upper(), known)}")
        statuses = {VideoStatus(status.upper())}
    most_frames = platform.config.extraction.max_frames_per_video
    rows_found, number = find_videos_after(platform.database, after, limit or _ALL, project=project, statuses=statuses)
    found = [_video(row, most_frames) for row in rows_found]
    if json:
        print_json(found)
        return
    columns = ["name", "status", "seconds", "frames", "reason", "try again", "key"]
    rows = [
        [
            shortened(str(video["name"]), 60),
            video["status"],
            None if video["duration_seconds"] is None else f"{video['duration_seconds']:.0f}",
            video["num_frames"],
            shortened(_reason(video), 80),
            video["retry_after"],
            video["key"],
        ]
        for video in found
    ]
    print_table(columns, rows, numbers=["seconds", "frames"])
    if number > len(found):
        behind = f" after {after}" if after else ""
        echo(f"{len(found)} of {counted(number, 'video')}{behind}; use --after {found[-1]['key']} for the next page")
    else:
        echo(counted(len(found), "video"))


def _print_obstacles(content: "dict[str, list[dict[str, object]]]") -> None:
    """Print the work that has to wait, with the reasons, then the warnings and the work in progress."""
    if content["sites"]:
        echo("")
        print_table(["paused site", "until", "because"], [list(row.values()) for row in content["sites"]])
    if content["stages"]:
        echo("")
        columns = ["waiting stage", "since", "tries again", "because", "message"]
        print_table(columns, [list(row.values()) for row in content["stages"]])
    if content["failures"]:
        echo("")
        rows = [
            list((row | {"kind": phrase_of(str(row["kind"])), "message": shortened(str(row["message"]), 100)}).values())
            for row in content["failures"]
        ]
        print_table(["failed at", "reason", "count", "next try", "last message"], rows, numbers=["count"])
    if waiting := [*content["holds"], *content["reviews"]]:
        echo("")
        for one in waiting:
            echo(str(one["message"]))
    for warning in content["warnings"]:
        echo(f"warning: {warning['message']}", err=True)
    if content["working"]:
        echo("")
        columns = ["in progress", "which is", "by process", "on", "since"]
        print_table(columns, [list(row.values()) for row in content["working"]])


def _status(platform: "Platform", project: str | None) -> "dict[str, list[dict[str, object]]]":
    from data_miner_dagster.catalog.claims import live_claims
    from data_miner_dagster.catalog.counts import count_project_videos, count_videos
    from data_miner_dagster.catalog.holds import lines_of_holds
    from data_miner_dagster.catalog.listings import remarkable_listings
    from data_miner_dagster.catalog.politeness import EVERY_SITE, closed_gates
    from data_miner_dagster.catalog.videos import find_videos
    from data_miner_dagster.operations.builds import lines_of_reviews
    from data_miner_dagster.operations.naming import name_of_video

    database = platform.database
    claims = live_claims(database, project)
    keys = [claim.resource.removeprefix("video/") for claim in claims if claim.resource.startswith("video/")]
    platform.remember_references()
    names = {row.key: name_of_video(row) for row in find_videos(platform.database, keys)} if keys else {}
    return {
        "projects": _projects(platform, project),
        "videos": [
            {
                "status": row.status,
                "reason": row.reason,
                "count": row.count,
                "stuck": row.num_stuck or None,
                "next_try": _utc(row.next_try),
            }
            for row in count_videos(database, project, stuck_after=platform.config.downloading.max_attempts)
        ],
        "members": [
            {"status": row.status, "reason": row.reason, "count": row.count}
            for row in count_project_videos(database, project)
        ],
        "sources": [
            {
                "project": listing.project_name,
                "source": listing.source,
                "query": listing.query,
                "remark": "; ".join(filter(None, (listing.error, listing.passed_over))),
                "is_failed": listing.error is not None,
            }
            for listing in remarkable_listings(database, project)
        ],
        "sites": [
            {
                "site": "every site" if gate.site == EVERY_SITE else gate.site,
                "until": f"{gate.until:%Y-%m-%d %H:%M:%S}Z",
                "reason": gate.reason,
            }
            for gate in closed_gates(database)
        ],
        "stages": _closed_stages(platform),
        "failures": _failures(platform, project),
        "holds": [{"message": line} for line in lines_of_holds(database, project)],
        "reviews": [{"message": line} for line in lines_of_reviews(platform, project)],
        "warnings": [{"message": warning} for warning in platform_warnings()],
        "working": [_working(claim, names.get(claim.resource.removeprefix("video/"), "")) for claim in claims],
    }


def _closed_stages(platform: "Platform") -> "list[dict[str, object]]":
    from data_miner_dagster.catalog.gates import closed_stages

    with platform.database.reading() as session:
        gates = closed_stages(session)
    return [
        {
            "stage": gate.stage.value.lower(),
            "since": _utc(gate.closed_at),
            "next_try": _utc(gate.closed_until),
            "kind": gate.kind,
            "reason": gate.reason,
        }
        for gate in gates
    ]


def _failures(platform: "Platform", project: str | None) -> "list[dict[str, object]]":
    from data_miner_dagster.catalog.attempts import count_failures

    return [
        {
            "stage": row.stage.value.lower(),
            "kind": row.kind,
            "count": row.num_items,
            "next_try": _utc(row.next_due),
            "message": row.message,
        }
        for row in count_failures(platform.database, project)
    ]


def _working(claim: "ClaimRow", name: str) -> "dict[str, object]":
    return {
        "resource": claim.resource,
        "name": name,
        "process": claim.pid,
        "host": claim.host.partition("|")[0],
        "since": f"{claim.claimed_at:%Y-%m-%d %H:%M:%S}Z",
    }


def _projects(platform: "Platform", only: str | None) -> "list[dict[str, object]]":
    from data_miner_dagster.catalog.projects import find_projects, project_progress
    from data_miner_dagster.operations.releasing.waiting import num_waiting_now
    from data_miner_dagster.operations.sourcing.registering import is_withdrawn

    rows = {row.name: row for row in find_projects(platform.database)}
    return [
        {
            "name": progress.name,
            "stage": progress.stage.value,
            "is_sourced": progress.is_sourced,
            "videos": progress.num_members,
            "settled": progress.num_settled,
            "with_frames": progress.num_extracted,
            "rejected": progress.num_rejected,
            "release": rows[progress.name].released_version,
            "release_withdrawn": _withdrawn_reason(platform, rows[progress.name]),
            "waiting_for_review": num_waiting_now(platform, rows[progress.name]),
            "is_withdrawn": is_withdrawn(platform, rows[progress.name]),
            "error": rows[progress.name].error,
            "look_again_at": _utc(rows[progress.name].look_again_at),
        }
        for progress in project_progress(platform.database)
        if only in (None, progress.name)
    ]


def _with_words(row: "dict[str, object]") -> "dict[str, object]":
    """Return a row with its stored reason replaced by a readable phrase."""
    return row | {"reason": phrase_of(str(row["reason"])) if row["reason"] else row["reason"]}


def _print_projects(found: "list[dict[str, object]]", still: "list[dict[str, object]]") -> None:
    numbers = ["videos", "settled", "with frames", "rejected", "frames to review"]
    keys = ["name", "stage", "videos", "settled", "with_frames", "rejected", "waiting_for_review", "release"]
    failed = {row["project"]: f"failed at {row['stage']}" for row in still}
    told = [
        row | {"stage": failed.get(row["name"]) or phrase_of_stage(ProjectStage(str(row["stage"])))} for row in found
    ]
    rows = [[*(row[key] for key in keys), shortened(_remark(row), 100)] for row in told]
    print_table(["project", "stage", *numbers, "release", "error"], rows, numbers=numbers)


def _remark(project: "dict[str, object]") -> str:
    reason = project["release_withdrawn"]
    withdrawn = f"release {project['release']} is withdrawn: {reason}" if reason else ""
    gone = "its project file was removed, so its sources are no longer listed" if project["is_withdrawn"] else ""
    again = project["look_again_at"]
    looks = f"the release lacks files that could not be read; they are checked again after {again}" if again else ""
    return "; ".join(filter(None, (str(project["error"] or ""), withdrawn, looks, gone)))


def _withdrawn_reason(platform: "Platform", project: "ProjectRow") -> str | None:
    from data_miner_dagster.catalog.releases import find_releases

    releases = find_releases(platform.database, project.name) if project.released_version is not None else []
    return next((row.withdrawn_reason for row in releases if row.version == project.released_version), None)


def _print_funnel(platform: "Platform", project: str) -> None:
    from data_miner_dagster.operations.reporting.funnel import project_funnel

    echo("")
    print_table(["step", "count", "reasons"], project_funnel(platform, project).as_rows(), numbers=["count"])


def _reason(video: "dict[str, object]") -> str:
    from data_miner_dagster.operations.naming import left_out_text

    if num_left_out := video["pictures_left_out"]:
        return left_out_text(int(str(num_left_out)))
    kind = phrase_of(str(video["error_kind"])) if video["error_kind"] else None
    return ": ".join(str(part) for part in (kind, video["error"]) if part)


def _video(row: "VideoRow", most_frames: int | None) -> "dict[str, object]":
    from data_miner_dagster.domain.addresses import Origin
    from data_miner_dagster.domain.secret_values import with_references
    from data_miner_dagster.operations.naming import name_of_video, num_pictures_left_out
    from data_miner_dagster.sites.redaction import redact_url

    return {
        "key": row.key,
        "name": name_of_video(row),
        "status": row.status.value,
        "url": row.url if row.origin is Origin.LOCAL else with_references(redact_url(row.url)),
        "title": row.title,
        "channel": row.channel,
        "channel_id": row.channel_id,
        "licence": row.licence,
        "duration_seconds": row.duration_seconds,
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "num_frames": row.num_frames,
        "pictures_left_out": num_pictures_left_out(row, most_frames),
        "attempts": row.attempts,
        "error_kind": row.error_kind.value if row.error_kind is not None else None,
        "error": row.error,
        "retry_after": _utc(row.retry_after),
    }


def _utc(date: "datetime | None") -> str | None:
    return None if date is None else f"{date:%Y-%m-%dT%H:%M:%SZ}"
