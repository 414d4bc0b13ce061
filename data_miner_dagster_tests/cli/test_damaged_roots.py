"""Commands on a root with damaged files, which succeed or print one line with the path and the remedy."""

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from benchmarks.hostile_roots import content_of, make_root, run_commands
from data_miner_dagster.cli.main import main
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.deployment import open_instance
from data_miner_dagster.domain.errors import CatalogError, ConfigError
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster_tests.support.sample_project import build_project

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda _content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "flipped": lambda content: bytes(byte ^ 0x10 if index % 97 == 50 else byte for index, byte in enumerate(content)),
    "noise": lambda content: random.Random(len(content)).randbytes(max(64, len(content))),
}
DERIVED = (
    "frames/files-aaa/frames.parquet",
    "projects/cyclists/filtered.parquet",
    "projects/cyclists/deduplicated.parquet",
    "projects/cyclists/detections.parquet",
    "projects/cyclists/detected_frames.parquet",
)
KEPT = ("catalog.sqlite", "platform.json", "releases/cyclists/v001/release.json", "dagster_home/history/runs.db")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a release and a closed catalog."""
    root = tmp_path_factory.mktemp("sound") / "root"
    platform = build_project(root)
    platform.check_sampling()
    release_project(platform, "cyclists")
    home = os.environ.pop("DAGSTER_HOME", None)
    open_instance(platform).dispose()
    del os.environ["DAGSTER_HOME"]
    if home is not None:
        os.environ["DAGSTER_HOME"] = home
    platform.database.dispose()
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "root")


def ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run a command as `data-miner` does; return its exit status, its output, and its only error line (or "")."""
    monkeypatch.setattr("sys.argv", ["data-miner", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert len(errors) <= 1
    assert "Traceback" not in printed.err
    status = end.value.code or 0
    assert isinstance(status, int)
    return status, printed.out, errors[0] if errors else ""


# each file is damaged in two ways and each way hits four or more files; readers do not ask how a file was damaged
@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (list(DAMAGES)[(number + turn) % len(DAMAGES)], name)
        for number, name in enumerate((*DERIVED, *KEPT))
        for turn in (0, 2)
    ],
)
def test_status_and_doctor__one_line_or_what_there_is(
    root: Path, name: str, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    for command in (("status", "--project", "cyclists"), ("doctor",)):
        status, out, error = ended(monkeypatch, capsys, *command, "--root", root)
        if command == ("doctor",) and name in DERIVED:
            assert status == 1
            assert f"damaged {name}" in " ".join(out.split())
        elif status and command != ("doctor",):
            assert path.name in error
    if name in DERIVED:
        ended(monkeypatch, capsys, "doctor", "--fix", "--root", root)
        assert not path.exists()
        assert "damaged" not in ended(monkeypatch, capsys, "doctor", "--root", root)[1]


def test_platform_json__of_another_shape(root: Path) -> None:
    for content in (b'"x"', b"[1]", b"\xff\xfe", b"{" * 2000, b'{"extraction": 3}', b'{"extraction": {"every": 1}}'):
        (root / "platform.json").write_bytes(content)
        with pytest.raises(ConfigError, match=r"platform\.json .*remove (it|the file)") as raised:
            open_platform(root)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("left", ["nothing", "an empty file", "a database without tables"])
def test_catalog__a_new_one_beside_files_is_refused_until_it_is_wanted(
    root: Path, left: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "catalog.sqlite").unlink()
    if left != "nothing":
        (root / "catalog.sqlite").write_bytes(b"")
    if left == "a database without tables":
        connection = sqlite3.connect(root / "catalog.sqlite")
        connection.execute("PRAGMA user_version=3")
        connection.close()
    for command in ("status", "doctor"):
        status, _, error = ended(monkeypatch, capsys, command, "--root", root)
        assert status == 1
        assert "catalog.sqlite is " in error
        assert "init-db" in error
    with pytest.raises(CatalogError, match="has files in frames, projects, releases;"):
        _ = Platform(PlatformConfig(), root).database
    assert ended(monkeypatch, capsys, "init-db", "--root", root)[0] == 0
    assert ended(monkeypatch, capsys, "status", "--root", root)[0] == 0


def damaged_copy(sound: Path, copy: Path, patterns: Sequence[str]) -> Path:
    """Copy a root and damage each file that matches a pattern, using the kinds of damage in turn."""
    shutil.copytree(sound, copy)
    paths = sorted(path for pattern in patterns for path in copy.glob(pattern))
    assert len(paths) > len(patterns)
    for number, path in enumerate(paths):
        path.write_bytes(list(DAMAGES.values())[number % len(DAMAGES)](path.read_bytes()))
    return copy


@pytest.mark.slow(35)
@pytest.mark.models
def test_run__every_derived_file_is_made_again(tmp_path: Path) -> None:
    sound, config = make_root(tmp_path)
    patterns = [
        "frames/*/frames.parquet",
        "embeddings/*/*.npz",
        "embeddings/*/prompts/*.npz",
        "projects/*/*.parquet",
        "projects/*/representatives.npz",
        "projects/*/detection_parts/*/*.parquet",
        "reports/*/*",
        "videos/*/*.json",
    ]
    damaged = damaged_copy(sound, tmp_path / "damaged", patterns)
    (outcome,) = run_commands(damaged, config, ("run",))
    assert (outcome.status, outcome.fault) == (0, ""), outcome.said
    assert content_of(damaged) == content_of(sound)
