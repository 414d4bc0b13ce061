"""This version opens a root of version 0.1.0: it backs it up, migrates it, and redoes only what it announced."""

import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from data_miner_dagster.catalog.migrations import head_revision
from data_miner_dagster.cli.main import main
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.prompts import embed_prompts
from data_miner_dagster_tests.cli.conftest import RunCommand
from data_miner_dagster_tests.cli.conftest import _own_environment as own_environment  # noqa: F401 - a fixture
from data_miner_dagster_tests.cli.conftest import run_command as run_command
from data_miner_dagster_tests.end_to_end.commands import data_miner, digests
from data_miner_dagster_tests.roots.unpacking import FOLDER, unpack

pytestmark = pytest.mark.slow(30)

ANIMALS_REDONE = (
    "animals was built by another version of this package (deduplication version 2 is now 4, releasing version 2 is "
    "now 5, report version 2 is now 7); its next build redoes the duplicate groups (from stored vectors), the table of "
    "boxes (from stored boxes), the release (as a new version) and the report, and keeps downloads, frames, "
    "embeddings, similarities, filter decisions and earlier releases (v001, v002)"
)
SERVED_REDONE = ANIMALS_REDONE.replace("animals was", "served was").replace("v001, v002", "v001")
FRAMES_REDONE = (
    "the frames of 5 videos were extracted by an earlier version (5 by version 5; this is version 6); they will be "
    "extracted and embedded again, and their projects will then be rebuilt"
)
ROWS = {
    "claims": 0,
    "download_starts": 0,
    "forgotten": 1,
    "prescreenings": 0,
    "project_videos": 8,
    "projects": 2,
    "releases": 3,
    "site_gates": 0,
    "source_listings": 6,
    "videos": 7,
}
NOT_COPIED = {("forgotten", "subject")}  # names; since revision 0006, only their hashes are kept


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return unpack("0.1.0", tmp_path)


def rows_of(catalog: Path) -> dict[str, list[dict[str, object]]]:
    with closing(sqlite3.connect(catalog)) as connection:
        connection.row_factory = sqlite3.Row
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}


def test_catalog__is_copied_then_migrated_with_every_row(made: Path, run_command: RunCommand) -> None:
    before = rows_of(made / "mined/catalog.sqlite")
    shown = run_command("videos", "--root", made / "mined")
    copy = made / "mined/catalog-0002.sqlite"
    migrated, *notes = shown.stderr.splitlines()
    assert migrated.endswith(
        f": the catalog was migrated from revision 0002 to {head_revision()}; "
        f"a copy of the earlier catalog is stored in {copy}"
    )
    assert notes == [f"note: {line}" for line in (ANIMALS_REDONE, SERVED_REDONE, FRAMES_REDONE)]
    assert rows_of(copy) == before
    assert before.pop("alembic_version") == [{"version_num": "0002"}]
    after = rows_of(made / "mined/catalog.sqlite")
    assert {table: len(rows) for table, rows in before.items() if table != "sqlite_sequence"} == ROWS
    for table in ROWS:
        kept = [{name: row[name] for name in row if (table, name) not in NOT_COPIED} for row in before[table]]
        assert [{name: row[name] for name in old} for row, old in zip(after[table], kept, strict=True)] == kept


def test_commands_that_look__show_what_was_there(made: Path, run_command: RunCommand) -> None:
    root = ("--root", made / "mined")
    status = run_command("status", *root).stdout
    assert re.search(r"animals +complete +5 +5 +4 +0 +0 +v002", status)
    assert re.search(r"served +complete +3 +3 +2 +0 +0 +v001", status)
    videos = run_command("videos", *root).stdout
    for name, is_now in {
        "cat.mp4": "EXTRACTED +4 +4",
        "person.mp4": "EXTRACTED +3 +3",
        "cup.mp4": "EXTRACTED +3 +3",
        "stills": "EXTRACTED +3 +3",
        "stars": "EXTRACTED +2 +2",
        "broken.mp4": "FAILED +not a video: the file is in no video format known",
        "http://127.0.0.1:18765/web/gone.mp4": "UNAVAILABLE +removed: HTTP Error 404: File not found",
    }.items():
        assert re.search(f"^{re.escape(name)} +{is_now}", videos, re.MULTILINE)
    doctor = run_command("doctor", *root)
    assert doctor.exit_code == 0
    assert doctor.stdout.splitlines() == [
        "catalog, files and partitions agree",
        *(f"note: {line}" for line in (ANIMALS_REDONE, SERVED_REDONE, FRAMES_REDONE)),
    ]
    for project, versions in {"animals": ["v001", "v002"], "served": ["v001"]}.items():
        listed = run_command("releases", project, "--check", *root)
        assert (listed.exit_code, re.findall(r"^(v\d+) .* whole", listed.stdout, re.MULTILINE)) == (0, versions)
    for file, about in {"animals": "2 sources, 3 classes", "served": "2 sources, 2 classes"}.items():
        checked = run_command("config", "check", made / f"{file}.yaml").stdout
        assert checked.splitlines()[0] == f"{made / file}.yaml is valid: project {file}, {about}"


def test_frames_that_cannot_be_read__are_left_out_of_what_is_said(made: Path, run_command: RunCommand) -> None:
    table, damaged = sorted((made / "mined/frames").glob("*/frames.parquet"))[:2]
    table.unlink()
    table.mkdir()
    damaged.write_bytes(b"noise")
    doctor = run_command("doctor", "--root", made / "mined")
    assert doctor.exit_code == 1
    assert FRAMES_REDONE.replace("5 videos", "3 videos").replace("(5 by", "(3 by") in doctor.stdout


def test_run__redoes_what_it_announced_and_nothing_else(made: Path) -> None:
    root = made / "mined"
    kept = ("videos", "releases/served", "releases/animals/v001", "releases/animals/v002")
    (stills,) = (root / "frames").glob("frames-*/")  # its pictures no longer exist
    parts = root / "projects/animals/detection_parts"
    pictures = sorted((root / "frames").glob("*/*.jpg"))
    before = digests(*(root / name for name in kept), parts, stills), [path.read_bytes() for path in pictures]
    report = root / "reports/animals/index.html"
    old_report = report.read_bytes()

    first = data_miner("run", "--config", made / "animals.yaml", "--root", root)
    assert first.returncode == 0, first.stdout
    lines = first.stdout.splitlines()
    work = next(number for number, line in enumerate(lines) if line.startswith("  project_videos animals"))
    frames_redone = FRAMES_REDONE.replace("frames of 5", "frames of 4").replace(
        "(5 by", "(4 by"
    )  # those of the project `animals`
    assert lines[0].startswith("the catalog was migrated from revision 0002 to ")
    assert lines[1:3] == [ANIMALS_REDONE, frames_redone]
    done = Counter(
        tuple(line.split()[:3:2] if line.split()[1] == "animals:" else line.split()[:1])
        for line in lines[work : lines.index("", work)]
    )
    assert done == {
        ("project_videos", "reused"): 1,
        ("extraction:",): 1,  # the batch begins
        ("frames",): 4,
        (f"{stills.name}:",): 1,  # a line which says that the stills are kept
        ("embedding:",): 1,
        ("frame_embeddings",): 3,
        ("filtered_frames", "done"): 1,
        ("deduplicated_frames", "done"): 1,
        ("detections", "done"): 1,
        ("dataset", "done"): 1,
    }
    assert "has examined" not in first.stdout  # detection is not repeated for any image
    after = digests(*(root / name for name in kept), parts, stills), [path.read_bytes() for path in pictures]
    assert after == before
    assert report.read_bytes() != old_report
    old, new = (root / "releases/animals" / version for version in ("v002", "v003"))
    assert digests(new / "images", new / "labels") == digests(old / "images", old / "labels")

    second = data_miner("run", "--config", made / "animals.yaml", "--root", root)
    assert second.stdout.splitlines()[0].startswith("  project_videos animals: reused")
    assert "everything is current: nothing to do" in second.stdout
    doctor = data_miner("doctor", "--root", root).stdout
    assert [line for line in doctor.splitlines() if line.startswith("note:")] == [
        f"note: {SERVED_REDONE}",  # `served` has not been built since
        f"note: {FRAMES_REDONE.replace('of 5', 'of 2').replace('(5 by', '(2 by')}",
    ]


def test_prompts__stored_vectors_are_taken(made: Path) -> None:
    platform = open_platform(made / "mined")
    files = digests(platform.layout.embeddings)
    texts, templates = ["a cat", "a person", "a brick wall", "a slide with text"], ["{}", "a photo of {}"]
    vectors = embed_prompts(platform, texts, templates)
    assert vectors.shape == (4, 384)
    assert digests(platform.layout.embeddings) == files  # a call of the encoder would have added files


def test_calibration__answers_of_a_person_are_kept(made: Path, run_command: RunCommand) -> None:
    sheet = json.loads(run_command("calibrate", "animals", "--json", "--root", made / "mined").stdout)
    assert (sheet["num_frames"], sheet["num_questions"], sheet["num_answered"]) == (13, 13, 13)


def test_a_root_of_a_later_version__is_refused_in_one_line(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = made / "mined/catalog.sqlite"
    with closing(sqlite3.connect(catalog)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = rows_of(catalog)
    monkeypatch.setattr("sys.argv", ["data-miner", "status", "--root", str(made / "mined")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == (
        f"error: the catalog sqlite:///{catalog} is at revision 9999, but this version supports only revisions up to "
        f"{head_revision()}; upgrade data-miner-dagster, or use another catalog\n"
    )
    assert rows_of(catalog) == before
    assert not list(catalog.parent.glob("catalog-*"))


def test_every_released_version_has_its_root() -> None:
    changelog = (FOLDER.parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+)", changelog, re.MULTILINE)
    assert released
    for version in released:
        folder = FOLDER / f"v{version.replace('.', '_')}"
        assert (folder / "root.tar.xz").stat().st_size < 1_000_000
        assert (folder / "README.md").is_file()
