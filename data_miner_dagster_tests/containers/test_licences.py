"""Check docs/licences.md against the lock, the model registry and the metadata of installed packages."""

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from data_miner_dagster.models.registry import BUILT_IN
from data_miner_dagster_tests.containers.test_locks import LOCKS, REPOSITORY, lock

sys.modules["lock"] = lock
_spec = spec_from_file_location("licences", LOCKS / "licences.py")
assert _spec is not None
assert _spec.loader is not None
licences = module_from_spec(_spec)
_spec.loader.exec_module(licences)
del sys.modules["lock"]

PAGE = (REPOSITORY / "docs" / "licences.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"(?m)^\| ([^|`]+) \| ([^|]+ [\d.]\S*(?:, [^|]+)?) \|$", PAGE))


def licence_by_package() -> dict[str, str]:
    pairs = [(entry.split(" ")[0], licence) for licence, names in ROWS.items() for entry in names.split(", ")]
    assert len(pairs) == len(dict(pairs)), "a package stands there twice"
    return dict(pairs)


def test_page__has_every_locked_package_at_its_version() -> None:
    locked = lock.pins((LOCKS / "cuda.txt").read_text(encoding="utf-8"))
    listed = {entry for names in ROWS.values() for entry in names.split(", ")}
    assert listed == {f"{name} {version}" for name, version in locked.items()}, "run make licences"
    assert "UNKNOWN" not in PAGE


def test_page__has_every_model_with_its_licence() -> None:
    assert BUILT_IN
    assert PAGE.endswith(licences.models_part()), "run python docker/locks/licences.py models"
    assert all(f"| `{name}` | {entry.licence}" in PAGE for name, entry in BUILT_IN.items())


def test_page__says_what_installed_packages_say() -> None:
    compared = 0
    for name, licence in licence_by_package().items():
        try:
            said = metadata(name)["License-Expression"]
        except (PackageNotFoundError, KeyError):
            continue
        if said:
            assert licences.one_name(said) == licence, name
            compared += 1
    assert compared > 50


def test_page__sets_those_with_conditions_apart() -> None:
    asking = PAGE.partition("### With conditions")[2].partition("### Other licences")[0]
    for name in ("ultralytics", "mutagen", "psycopg2-binary", "nvidia-nccl-cu13"):
        assert f" {name} " in asking, name
    assert "pydantic" not in asking


def test_packages_part__refuses_a_package_that_says_nothing() -> None:
    with pytest.raises(SystemExit, match="these packages state no licence: b; look it up"):
        licences.packages_part({"a": "MIT", "b": "UNKNOWN"}, {"a": "1", "b": "2"})
    with pytest.raises(SystemExit, match="not installed: b;"):
        licences.packages_part({"a": "MIT"}, {"a": "1", "b": "2"})


def test_main__models_alone_leave_the_packages_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "licences.md"
    page.write_text(PAGE.replace(licences.models_part(), "## Models\n\nnone\n"), encoding="utf-8")
    monkeypatch.setattr(licences, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["licences.py", "models"])
    licences.main()
    assert page.read_text(encoding="utf-8") == PAGE
