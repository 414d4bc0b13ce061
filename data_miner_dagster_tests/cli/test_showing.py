import io
import json
from datetime import timedelta
from pathlib import Path

import pytest

from data_miner_dagster.catalog.attempts import record_attempt
from data_miner_dagster.catalog.gates import close_gate as close_stage
from data_miner_dagster.catalog.politeness import close_gate
from data_miner_dagster.catalog.projects import find_projects, update_project
from data_miner_dagster.catalog.releases import withdraw_release
from data_miner_dagster.catalog.schema import SourceListingRow, VideoRow, utc_now
from data_miner_dagster.catalog.verdicts import add_verdicts
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.cli import progress, summary
from data_miner_dagster.domain.addresses import Origin
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.domain.tables import REUPLOADS_SCHEMA
from data_miner_dagster.domain.verdicts import VerdictWord
from data_miner_dagster.domain.work import Failure, FailureKind, WorkStage
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.sensors.project_files import register_project_files
from data_miner_dagster.storage.tables import table_from_rows, write_table
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.catalog import FOUND_AT
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_platform, build_project
from data_miner_dagster_tests.support.verdicts import box_verdict


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return build_project(tmp_path, through="extraction")


def test_status__no_catalog_is_a_mistake_and_makes_none(run_command: RunCommand, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=" contains no catalog; give the right root"):
        run_command("status", "--root", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_status__settings_of_one_project_that_do_not_fit_this_version_are_a_line(
    run_command: RunCommand, platform: Platform
) -> None:
    (row,) = find_projects(platform.database)
    update_project(platform.database, row.name, config={**row.config, "filtering": 3}, built_basis="an earlier one")
    told = run_command("status", "--root", platform.root).stdout
    assert f"{row.name}: the stored settings of project '{row.name}' do not fit this version: filtering is 3" in told
    assert "progress:" in told


def test_status__a_record_of_the_environment_that_another_version_wrote_is_a_line_and_hides_its_values(
    run_command: RunCommand, platform: Platform
) -> None:
    (row,) = find_projects(platform.database)
    record = {"values": [["a-long-secret-value", "${SECRET}"], 3], "later": 1}
    update_project(platform.database, row.name, config={**row.config, "interpolated": record}, built_basis="earlier")
    told = run_command("status", "--root", platform.root).stdout
    assert f"{row.name}: the stored settings of project '{row.name}' do not fit this version: Interpolations" in told
    assert with_references("it is a-long-secret-value") == "it is ${SECRET}"


def test_status__empty_catalog(run_command: RunCommand, tmp_path: Path) -> None:
    find_projects(build_platform(tmp_path).database)
    result = run_command("status", "--root", tmp_path, "--json")
    content = json.loads(result.stdout)
    del content["warnings"]  # they depend on the installed yt-dlp
    assert list(content) == [
        "projects",
        "videos",
        "members",
        "sources",
        "sites",
        "stages",
        "failures",
        "holds",
        "reviews",
        "working",
        "room",
        "progress",
        "standing_still",
    ]
    assert not any(content.values())
    assert run_command("videos", "--root", tmp_path).stdout.endswith("0 videos\n")


def test_status__says_which_stage_waits_for_what_and_what_failed(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_platform(tmp_path)
    with platform.database.transaction() as session:
        close_stage(session, WorkStage.EMBEDDING, FailureKind.MODEL, "model siglip: there is no folder /models")
        nothing = Failure(FailureKind.NOTHING_TO_RELEASE, "no frame is left")
        record_attempt(session, WorkStage.RELEASING, "pets", nothing, None)
        record_attempt(session, WorkStage.DETECTION, "cars", Failure(FailureKind.FAILED, "x"), FOUND_AT)
    output = " ".join(run_command("status", "--root", tmp_path).stdout.split())
    assert "Z model model siglip: there is no folder /models" in output
    assert "detection failed 1 2026-01-02T03:04:05Z x" in output
    assert "releasing nothing to release 1 no frame is left" in output
    content = json.loads(run_command("status", "--root", tmp_path, "--json").stdout)
    assert [stage["stage"] for stage in content["stages"]] == ["embedding"]
    assert [failure["next_try"] for failure in content["failures"]] == ["2026-01-02T03:04:05Z", None]


def test_status__a_project_that_stands_still_says_why_in_which_run_and_what_to_do(
    run_command: RunCommand, platform: Platform
) -> None:
    failure = Failure(FailureKind.SETTINGS, "class person: no phrase of it is known", run_id="1a2b3c4d-5e6f")
    with platform.database.transaction() as session:
        record_attempt(session, WorkStage.DETECTION, "cyclists", failure, FOUND_AT)
    result = run_command("status", "--root", platform.root)
    assert result.exit_code == 0  # it is retried automatically
    assert "FAILED  cyclists: detection failed: class person: no phrase of it is known (run 1a2b3c4d)" in result.stdout
    assert f"run `data-miner retry --project cyclists --root {platform.root}` to retry it now" in result.stdout
    with platform.database.transaction() as session:
        record_attempt(session, WorkStage.DETECTION, "cyclists", failure, None)
    for command in (("status",), ("status", "--project", "cyclists"), ("doctor",)):
        result = run_command(*command, "--root", platform.root)
        assert result.exit_code == 1
        assert "NEEDS YOU  cyclists: detection failed: class person: no phrase of it is known (run 1" in result.stdout
        assert "it waits until something changes: change its settings, videos or verdicts, or run " in result.stdout
    shown = run_command("projects", "--root", platform.root)
    assert shown.exit_code == 1
    assert "cyclists  failed at detection " in shown.stdout
    told = run_command("status", "--root", platform.root).stdout
    assert "next: run" not in told  # the project's own line says what to do
    (project,) = json.loads(run_command("projects", "--json", "--root", platform.root).stdout)
    assert project["standing_still"] | {"remedy": "", "message": ""} == {
        "project": "cyclists",
        "stage": "detection",
        "cause": "class person: no phrase of it is known",
        "run_id": "1a2b3c4d-5e6f",
        "next_try": None,
        "remedy": "",
        "needs_you": True,
        "message": "",
    }


def test_status__says_what_failed_where_a_model_is_missing(
    run_command: RunCommand, platform: Platform, tmp_path: Path
) -> None:
    with platform.database.transaction() as session:
        failure = Failure(FailureKind.MODEL, "model ours: there is no folder or file /gone")
        record_attempt(session, WorkStage.DETECTION, "cyclists", failure, None)
    entry = {"architecture": "d-fine", "source": "file:/gone"}
    settings = tmp_path / "platform.yaml"
    settings.write_text(json.dumps({"platform": {"models": {"detector": "ours", "registry": {"ours": entry}}}}))
    result = run_command("status", "--root", platform.root, "--config", settings)
    assert result.exit_code == 1
    assert "NEEDS YOU  cyclists: detection failed: model ours: there is no folder or file /gone" in result.stdout


def test_status__names_refused_project_files_until_they_are_right(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_platform(tmp_path)
    file = platform.layout.project_files / "bad.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("name: bad\nfiltring: {}\n")
    assert len(register_project_files(platform)) == 1
    for command in ("status", "doctor"):
        result = run_command(command, "--root", platform.root)
        assert result.exit_code == 1
        assert "NEEDS YOU  project file refused: bad.yaml: " in result.stdout
        assert "the key 'filtring' is unknown" in result.stdout
    file.unlink()
    assert run_command("status", "--root", platform.root).exit_code == 0


def test_status__says_which_site_refuses_and_that_yt_dlp_is_old(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = build_platform(tmp_path)
    until = utc_now() + timedelta(hours=1)
    close_gate(platform.database, "youtube", until, "youtube refuses all requests (forbidden)")
    monkeypatch.setattr("data_miner_dagster.cli.warnings.yt_dlp_version", lambda: "2020.1.2")
    result = run_command("status", "--root", tmp_path)
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("youtube")]
    assert f"{until:%Y-%m-%d %H:%M:%S}Z" in line
    assert line.endswith("youtube refuses all requests (forbidden)")
    assert "warning: yt-dlp 2020.1.2, " in result.stderr
    assert "pip install -U yt-dlp" in result.stderr
    content = json.loads(run_command("status", "--root", tmp_path, "--json").stdout)
    assert [site["site"] for site in content["sites"]] == ["youtube"]
    assert len(content["warnings"]) == 1
    today = f"{utc_now():%Y.%m.%d}"
    monkeypatch.setattr("data_miner_dagster.cli.warnings.yt_dlp_version", lambda: today)
    assert run_command("status", "--root", tmp_path).stderr == ""


def test_status__counts_by_status_with_reasons(run_command: RunCommand, platform: Platform) -> None:
    content = json.loads(run_command("status", "--root", platform.root, "--json").stdout)
    assert content["videos"] == [
        {"status": "PENDING", "reason": "", "count": 1, "stuck": None, "next_try": None},
        {"status": "EXTRACTED", "reason": "", "count": 3, "stuck": None, "next_try": None},
        {"status": "FAILED", "reason": "undecodable", "count": 1, "stuck": None, "next_try": None},
    ]
    assert content["members"] == [
        {"status": "PENDING", "reason": "", "count": 4},
        {"status": "REJECTED", "reason": "duration", "count": 1},
    ]
    assert content["projects"] == [
        {
            "name": "cyclists",
            "stage": "SOURCING",
            "is_sourced": False,
            "videos": 4,
            "settled": 4,
            "with_frames": 3,
            "rejected": 1,
            "waiting_for_review": 0,
            "release": None,
            "release_withdrawn": None,
            "is_withdrawn": False,
            "error": None,
            "look_again_at": None,
        }
    ]


def test_status__counts_answers_before_the_next_build(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path, releasing={"unsure": "hold"})
    release_project(platform, "cyclists")
    unsure = ("person", (1 / 64, 1 / 48, 9 / 64, 9 / 48))
    for is_answered in (False, True):
        if is_answered:
            answer = box_verdict("files-aaa/000001", 1.0, VerdictWord.WRONG, unsure)
            add_verdicts(platform.database, "cyclists", [answer])
        (row,) = json.loads(run_command("status", "--root", tmp_path, "--json").stdout)["projects"]
        assert row["waiting_for_review"] == (0 if is_answered else 1)


def test_status__of_a_project_shows_its_funnel_and_who_works(run_command: RunCommand, platform: Platform) -> None:
    with platform.hold_project("cyclists"):
        text = run_command("status", "--project", "cyclists", "--root", platform.root).stdout
    assert "project/cyclists" in text
    assert "videos accepted" in text
    assert "too short or too long" in text
    assert "cannot be decoded" in text
    with pytest.raises(ConfigError, match="project 'nobody' does not exist; use one of cyclists"):
        run_command("status", "--project", "nobody", "--root", platform.root)


def test_status__a_withdrawn_release_is_shown_as_such(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    withdraw_release(platform.database, "cyclists", "v001", "asked by its author")
    shown = run_command("status", "--root", tmp_path).stdout
    assert "release v001 is withdrawn: asked by its author" in shown


def test_status__leads_to_the_report_and_says_what_comes_next(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path)
    release_project(platform, "cyclists")
    lines = run_command("status", "--root", tmp_path).stdout.splitlines()
    report = platform.layout.report_page("cyclists")
    place = lines.index(f"cyclists v001: report {report}")
    assert lines[place + 1].startswith("next: run `data-miner review cyclists")
    assert lines[place + 1].endswith(f", or `data-miner export cyclists --to FOLDER --root {tmp_path}`")


def test_status__of_a_project_names_whole_reuploads(run_command: RunCommand, platform: Platform) -> None:
    found = {"video_key": "files-bbb", "original_video_key": "files-aaa", "share": 0.9, "original_share": 0.5}
    rows = [found | {"num_matched_frames": 9, "num_frames": 10}]
    table = table_from_rows(rows, REUPLOADS_SCHEMA)
    write_table(platform.layout.reuploads_table("cyclists"), table, fingerprint="1")
    text = run_command("status", "--project", "cyclists", "--root", platform.root).stdout
    assert ["Clip", "bbb", "Clip", "aaa", "9", "of", "10"] in [line.split() for line in text.splitlines()]
    content = json.loads(run_command("status", "--project", "cyclists", "--root", platform.root, "--json").stdout)
    assert content["reuploads"] == [rows[0] | {"title": "Clip bbb", "original_title": "Clip aaa"}]


def test_projects__table_and_json(run_command: RunCommand, platform: Platform) -> None:
    assert "cyclists" in run_command("projects", "--root", platform.root).stdout
    assert json.loads(run_command("projects", "--root", platform.root, "--json").stdout)[0]["name"] == "cyclists"


def test_videos__all_failed_by_status_and_by_project(run_command: RunCommand, platform: Platform) -> None:
    def keys(*options: str) -> list[str]:
        return [
            row["key"] for row in json.loads(run_command("videos", "--root", platform.root, "--json", *options).stdout)
        ]

    assert keys() == ["files-aaa", "files-bbb", "files-ccc", "files-ddd", "files-eee"]
    assert keys("--failed") == ["files-ddd"]
    assert keys("--status", "extracted") == ["files-aaa", "files-bbb", "files-ccc"]
    assert keys("--project", "cyclists") == ["files-aaa", "files-bbb", "files-ccc", "files-ddd"]
    assert keys("--limit", "2") == ["files-aaa", "files-bbb"]
    assert keys("--limit", "2", "--after", "files-bbb", "--project", "cyclists") == ["files-ccc", "files-ddd"]
    assert keys("--after", "files-ddd") == ["files-eee"]
    page = run_command("videos", "--root", platform.root, "--limit", "2").stdout
    assert page.endswith("\n2 of 5 videos; use --after files-bbb for the next page\n")
    text = run_command("videos", "--root", platform.root, "--failed").stdout
    assert "cannot be decoded: no frame decodes" in text
    with pytest.raises(ConfigError, match=r"--status 'extrcted' is not a status; did you mean 'EXTRACTED'\?"):
        keys("--status", "extrcted")


def test_names__of_files_and_titles_are_shown_not_only_keys(run_command: RunCommand, tmp_path: Path) -> None:
    videos = (
        SampleVideo("frames-1", num_frames=5),
        SampleVideo("files-bbb"),
        SampleVideo("files-ddd", failed=VideoErrorKind.UNDECODABLE),
    )
    platform = build_project(tmp_path, videos=videos, through="extraction")
    with platform.database.transaction() as session:
        failed, folder = session.get_one(VideoRow, "files-ddd"), session.get_one(VideoRow, "frames-1")
        failed.origin, failed.url = Origin.LOCAL, "/videos/Part #1 of 2 [x].mp4"
        folder.origin, folder.url = Origin.LOCAL, "/pictures/[b] 100%"
        folder.duration_seconds = 7.0  # the number of pictures, of which 5 became frames
        session.add(
            SourceListingRow(
                project_name="cyclists",
                source="files",
                query="clips [1]",
                listed_at=utc_now(),
                num_found=3,
                passed_over="6 files were left out: .swf (6)",
            )
        )
        session.add(
            SourceListingRow(
                project_name="cyclists",
                source="feeds",
                query="http://a.test/feed",
                listed_at=utc_now(),
                error="HTTP 404",
            )
        )
    text = run_command("videos", "--root", platform.root).stdout
    assert any(line.startswith("Part #1 of 2 [x].mp4 ") and line.endswith(" files-ddd") for line in text.splitlines())
    assert "2 pictures were left out as damaged or too large; the log names each one" in text
    assert "Clip bbb" in text
    with platform.hold_video("files-ddd"):
        text = run_command("status", "--root", platform.root).stdout
        working = json.loads(run_command("status", "--root", platform.root, "--json").stdout)["working"]
    lines = [line.split() for line in text.splitlines()]
    assert ["cyclists", "feeds", "http://a.test/feed", "HTTP", "404"] in lines
    assert ["cyclists", "files", "clips", "[1]", "6", "files", "were", "left", "out:", ".swf", "(6)"] in lines
    assert working[0]["name"] == "Part #1 of 2 [x].mp4"
    console = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(progress.console, "file", console)
        summary.print_summary(platform, "cyclists")
    printed = console.getvalue()
    assert "Part #1 of 2 [x].mp4 (files-ddd): cannot be decoded: no frame decodes" in printed
    assert "[b] 100% (frames-1): 2 pictures were left out" in printed
    assert "files clips [1]: 6 files were left out: .swf (6)" in printed
    assert "feeds http://a.test/feed: HTTP 404" in printed


def test_videos__a_title_is_neither_markup_nor_control_characters(run_command: RunCommand, platform: Platform) -> None:
    with platform.database.transaction() as session:
        session.get_one(VideoRow, "files-aaa").title = "[bold]loud[/] \x1b[31mred\x07"
    text = run_command("videos", "--root", platform.root).stdout
    assert "[bold]loud[/]" in text
    assert "\x07" not in text


def test_videos__an_address_is_shown_without_what_may_be_a_secret(run_command: RunCommand, platform: Platform) -> None:
    with platform.database.transaction() as session:
        session.get_one(VideoRow, find_videos(platform.database)[0].key).url = "https://a.test/x.mp4?sig=5EC12E7x"
    shown = run_command("videos", "--json", "--root", platform.root).stdout
    assert "5EC12E7x" not in shown
    assert "https://a.test/x.mp4?sig=***" in shown


def test_status__a_project_without_its_file_says_so(run_command: RunCommand, platform: Platform) -> None:
    platform.layout.project_files.mkdir()
    update_project(platform.database, "cyclists", config_file=str(platform.layout.project_files / "cyclists.yaml"))
    assert "its project file was removed" in run_command("status", "--root", platform.root).stdout
    (platform.layout.project_files / "cyclists.yaml").touch()
    assert "its project file was removed" not in run_command("status", "--root", platform.root).stdout


def test_print_summary__one_reason_of_many_videos_is_said_three_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = tuple(SampleVideo(f"files-{number}", failed=VideoErrorKind.UNDECODABLE) for number in range(9))
    platform = build_project(tmp_path, videos=videos, through="extraction")
    console = io.StringIO()
    monkeypatch.setattr(progress.console, "file", console)
    summary.print_summary(platform, "cyclists")
    printed = console.getvalue()
    assert printed.count("cannot be decoded: no frame decodes") == 3
    assert f"and 6 more for this reason; `data-miner videos --failed --project cyclists --root {tmp_path}`" in printed
