"""Each part of the environment, sound and faulty, on this machine."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.deployment import home_part
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.upkeep import environment
from data_miner_dagster.operations.upkeep.environment import Part, State, inspect_environment
from data_miner_dagster.storage.layout import StorageLayout


def parts_of(root: Path, **settings: object) -> dict[str, Part]:
    platform = Platform(PlatformConfig.model_validate({"models": {"profile": "lite"}, **settings}), root)
    return {part.what: part for part in inspect_environment(platform)}


def names_in(root: Path) -> set[str]:
    """Return the names in a root, except for the log files that SQLite has while the catalog is being read."""
    return {path.name for path in root.iterdir() if not path.name.endswith(("-wal", "-shm"))}


def test_inspect_environment__nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    parts = parts_of(tmp_path / "root")
    assert list(parts) == [
        "root",
        "disk",
        "temporary files",
        "database",
        "model cache",
        "GPU",
        "JavaScript",
        "open files",
    ]
    assert all(part.remedy for part in parts.values() if part.state is not State.OK)
    assert list(tmp_path.iterdir()) == []


def test_inspect_environment__a_root_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "kind_of_file_system", lambda _: "ext4")  # wherever test files are stored
    root = tmp_path / "root"
    Platform(PlatformConfig(), root).database.dispose()
    before = names_in(root)
    parts = parts_of(root)
    assert parts["root"].value.endswith("supports hard links)")
    assert parts["database"].value == f"sqlite:///{root}/catalog.sqlite answers"
    assert parts["clock"].state is State.OK
    assert names_in(root) == before


def test_inspect_environment__a_root_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "kind_of_file_system", lambda _: "tmpfs")
    part = parts_of(tmp_path)["root"]
    assert part.state is State.WARNING
    assert part.remedy == "choose a root on a disk, since files in memory are lost at a restart"


def test_inspect_environment__a_damaged_catalog(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "catalog.sqlite").write_bytes(b"no database, but longer than a header of one" * 100)
    part = parts_of(root)["database"]
    assert (part.state, part.remedy) == (State.PROBLEM, "restore the file from a backup")


def test_inspect_environment__a_root_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    part = parts_of(tmp_path / "root")["root"]
    assert part.state is State.PROBLEM
    assert "Not a directory" in part.value


def test_inspect_environment__a_database_that_is_away(tmp_path: Path) -> None:
    url = "postgresql+psycopg2://miner:s3cret-word@127.0.0.1:9/catalog"
    part = parts_of(tmp_path / "root", storage={"catalog_url": url})["database"]
    assert part.state is State.PROBLEM
    assert "s3cret-word" not in part.value
    assert part.remedy


def test_inspect_environment__short_disk_missing_gpu_and_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(tmp_path / "models"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    models = {"device": "cuda:7", "dedup_encoder": "dinov3"}  # this model needs a token
    parts = parts_of(tmp_path / "root", downloading={"min_free_bytes": 10**15}, models=models)
    assert parts["disk"].state is State.PROBLEM
    assert "less than platform.downloading.min_free_bytes" in parts["disk"].value
    assert parts["model cache"].state is State.WARNING
    assert parts["model cache"].value.startswith(f"{tmp_path / 'models'}: model dinov3")
    assert "; " not in parts["model cache"].value
    assert parts["model cache"].remedy
    if parts["GPU"].value.startswith("none"):
        assert parts["GPU"].state is State.PROBLEM
        assert "platform.models.device" in parts["GPU"].remedy


@pytest.fixture
def _few_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_few_files")
def test_inspect_environment__few_open_files(tmp_path: Path) -> None:
    part = parts_of(tmp_path / "root")["open files"]
    assert (part.state, part.value) == (State.WARNING, "a process may open only 1,000 files")
    assert "ulimit -n" in part.remedy


def test_home_part__named_missing_and_misread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = StorageLayout(tmp_path / "root")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert home_part(layout).value == f"{layout.dagster_home} has no dagster.yaml yet; the first use creates it"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "what?"))
    assert home_part(layout).state is State.PROBLEM
    home = tmp_path / "home"
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    assert home_part(layout) == Part("DAGSTER_HOME", State.OK, f"{home} (DAGSTER_HOME)")
