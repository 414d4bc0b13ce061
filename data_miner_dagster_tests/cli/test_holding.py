import json
import re
from pathlib import Path

import pytest

from data_miner_dagster.catalog.holds import find_holds
from data_miner_dagster.cli.in_process import check_not_held
from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import SampleVideo, build_project


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Return a platform with two projects: `cyclists` wants aaa, bbb and ccc; `walkers` wants aaa and fff."""
    build_project(
        tmp_path, name="walkers", videos=(SampleVideo("files-aaa"), SampleVideo("files-fff")), through="sourcing"
    )
    return build_project(tmp_path, through="sourcing")


def test_pause__is_shown_and_ends_with_resume(run_command: RunCommand, platform: Platform) -> None:
    root = ["--root", platform.root]
    assert "would be held: " in run_command("pause", "--project", "cyclists", "--dry-run", *root).stdout
    assert find_holds(platform.database) == []
    told = run_command("pause", "--project", "cyclists", "--stage", "detection", "--reason", "the GPU is needed", *root)
    assert told.stdout.startswith("detection of project cyclists: held; ")
    command = f"data-miner resume --project cyclists --stage detection --root {platform.root}"
    assert told.stdout.endswith(f"; to resume, run `{command}`\n")
    line = "detection of project cyclists has been held since "
    assert line in run_command("status", *root).stdout
    (held,) = json.loads(run_command("status", "--json", *root).stdout)["holds"]
    assert held["message"].startswith(line)
    assert "(the GPU is needed)" in held["message"]
    assert run_command("resume", "--stage", "filtering", *root).stdout == "filtering of every project: 0 holds ended\n"
    assert run_command("resume", "--dry-run", *root).stdout == "1 hold would end\n"
    assert run_command("resume", *root).stdout.startswith("all work: 1 hold ended; a running `data-miner up`")
    assert find_holds(platform.database) == []


def test_resume__what_covers_more_is_still_held(run_command: RunCommand, platform: Platform) -> None:
    run_command("pause", "--root", platform.root)
    told = run_command("resume", "--project", "walkers", "--root", platform.root)
    assert told.stdout == "project walkers: 0 holds ended\n"
    assert told.stderr.startswith("still: all work has been held since ")
    assert told.stderr.endswith(f"to resume, run `data-miner resume --root {platform.root}`\n")


def test_hold__videos_by_key_and_file(run_command: RunCommand, platform: Platform, tmp_path: Path) -> None:
    root = ["--root", platform.root]
    keys = tmp_path / "keys.txt"
    keys.write_text("# two of them\nfiles-aaa\n\n  files-bbb\n")
    told = run_command("hold", "files-ccc", "--keys-file", keys, "--project", "cyclists", *root).stdout
    assert told.startswith("3 videos of project cyclists: held; ")
    command = f"data-miner resume files-ccc files-aaa files-bbb --project cyclists --root {platform.root}"
    assert told.endswith(f"to resume, run `{command}`\n")
    assert sorted(str(row.video_key) for row in find_holds(platform.database)) == [
        "files-aaa",
        "files-bbb",
        "files-ccc",
    ]
    told = run_command("resume", "files-bbb", *root).stdout
    assert told.startswith("video files-bbb: 1 hold ended")
    assert len(find_holds(platform.database)) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "give video keys, --project or --stage"),
        (("files-zzz",), "files-zzz is not in the catalog"),
        (("cyclists",), "cyclists is a project, not the key of a video; write --project cyclists"),
        (("files-bbb", "--project", "walkers"), "files-bbb is not in project 'walkers'"),
        (("--keys-file", "none.txt"), "none.txt does not exist"),
        (("--keys-file", "empty.txt"), "contains no video key"),
        (("--stage", "detecting"), "--stage 'detecting' is not a stage; did you mean 'detection'"),
        (("--project", "nobody"), "project 'nobody' does not exist"),
    ],
)
def test_hold__says_what_is_wrong(
    run_command: RunCommand, platform: Platform, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(platform.root)
    (platform.root / "empty.txt").write_text("# nothing\n")
    with pytest.raises(ConfigError, match=line):
        run_command("hold", *arguments, "--root", platform.root)
    assert find_holds(platform.database) == []


def test_pause__a_video_is_not_a_project(run_command: RunCommand, platform: Platform) -> None:
    line = (
        "files-bbb is the key of a video, not a project; give it as an argument, without --project (`data-miner "
        "pause` accepts no keys, so use `data-miner hold` instead)"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(line)}$"):
        run_command("pause", "--project", "files-bbb", "--root", platform.root)
    assert find_holds(platform.database) == []


@pytest.mark.parametrize(("command", "other"), [("pause", "`hold`"), ("hold", "`pause`")])
def test_help__names_the_command_beside(run_command: RunCommand, command: str, other: str) -> None:
    told = run_command(command, "--help").stdout
    assert other in told


def test_check_not_held__a_paused_project_is_not_run(run_command: RunCommand, platform: Platform) -> None:
    root = ["--root", platform.root]
    run_command("pause", "--project", "walkers", "--stage", "detection", *root)
    run_command("hold", "files-fff", *root)
    check_not_held(platform, "walkers")
    run_command("pause", "--project", "walkers", *root)
    check_not_held(platform, "cyclists")
    match = r"^project walkers has been held .* resume --project walkers`, then run again$"
    with pytest.raises(DataMinerError, match=match):
        check_not_held(platform, "walkers")
