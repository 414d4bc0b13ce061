"""`data-miner review export|import|list`, as a person types them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data_miner_dagster.catalog.verdicts import add_verdicts, verdicts_in_force
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.verdicts import VerdictWord
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.support.sample_project import build_project
from data_miner_dagster_tests.support.verdicts import box_verdict, frame_verdict

PERSON = ("person", (1 / 64, 1 / 48, 9 / 64, 9 / 48))


def test_review__export_import_and_list(run_command: RunCommand, tmp_path: Path) -> None:
    first, second, file = tmp_path / "first", tmp_path / "second", tmp_path / "verdicts.csv"
    met = replace(box_verdict("files-aaa/000001", 1.0, VerdictWord.WRONG, PERSON), answer_id="met")
    gone = frame_verdict("files-zzz/000000", 0.0, VerdictWord.KEEP, who="Ben")
    add_verdicts(build_project(first).database, "cyclists", [met, gone])
    exported = run_command("review", "export", "cyclists", "--to", file, "--root", first)
    assert exported.stdout == f"cyclists: 2 verdicts → {file}\n"

    platform = build_project(second)
    imported = run_command("review", "import", "cyclists", file, "--root", second)
    assert imported.stdout == (
        "cyclists: 2 answers, 2 of them new\n"
        f"next: run `data-miner run --config FILE --root {second}` to apply the verdicts; a running `data-miner up` "
        "does this automatically\n"
    )
    assert "1 verdict is stored but matches nothing" in imported.stderr
    assert "files-zzz/000000, keep: the project has no frames of this video" in imported.stderr
    assert verdicts_in_force(platform.database, "cyclists") == [met, gone]

    listed = run_command("review", "list", "cyclists", "--root", second).stdout
    assert [line.split()[-2:] for line in listed.splitlines() if "2026-01-02 12:00" in line] == [
        ["keep", "files-zzz/000000"],
        ["files-aaa/000001", "person"],
    ]
    (unmet,) = json.loads(run_command("review", "list", "cyclists", "--unmet", "--json", "--root", second).stdout)
    assert (unmet["answer_id"], unmet["who"], unmet["reason"]) == (gone.answer_id, "Ben", "no_video")


def test_review__list_without_verdicts_says_what_to_do(run_command: RunCommand, tmp_path: Path) -> None:
    build_project(tmp_path)
    listed = run_command("review", "list", "cyclists", "--root", tmp_path).stdout
    command = f"data-miner review cyclists --root {tmp_path}"
    assert listed == f"cyclists has no verdicts in force; to give some, run `{command}`\n"
    unmet = run_command("review", "list", "cyclists", "--unmet", "--root", tmp_path).stdout
    assert unmet == "every verdict in force matches something in cyclists\n"


def test_review__import_of_keep_or_drop_answers(run_command: RunCommand, tmp_path: Path) -> None:
    platform = build_project(tmp_path / "root")
    file = tmp_path / "answers.csv"
    file.write_text("frame_id,answer\nfiles-aaa/000001,drop\nfiles-zzz/000000,keep\n")
    done = run_command("review", "import", "cyclists", file, "--who", "Ada", "--root", platform.root)
    assert done.stdout.startswith("cyclists: 2 answers, 1 of them new\n")
    assert "1 answer matches no frame of this project (for example, files-zzz/000000)" in done.stderr
    (verdict,) = verdicts_in_force(platform.database, "cyclists")
    assert (verdict.word, verdict.who, verdict.place.pts_seconds) == (VerdictWord.DROP, "Ada", 1.0)
    with pytest.raises(ConfigError, match="project 'plants' does not exist"):
        run_command("review", "import", "plants", file, "--root", platform.root)
