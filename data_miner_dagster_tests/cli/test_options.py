import os
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand

from data_miner_dagster.cli.options import PlatformOptions, platform_options, said_again

NAMES = ("DATA_MINER_ROOT", "DATA_MINER_CONFIG", "DATA_MINER_PROFILE")


def told() -> list[str | None]:
    return [os.environ.get(name) for name in NAMES]


def test_platform_options__none() -> None:
    assert platform_options(None, None, None) == PlatformOptions()
    assert told() == [None, None, None]


def test_platform_options__those_before_the_command_hold_where_it_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with typer.Context(TyperCommand("data-miner")) as outer:
        outer.obj = platform_options(Path("a"), None, "lite")
        with typer.Context(TyperCommand("status"), parent=outer):
            assert platform_options(None, None, None) == PlatformOptions(tmp_path / "a", None, "lite")
            own = platform_options(Path("b"), Path("c.yaml"), None)
        outer.params["root"] = Path("my videos")
        with typer.Context(TyperCommand("status"), parent=outer) as inner:
            assert said_again() == " --root 'my videos'"
            inner.params |= {"root": Path("b"), "profile": "lite"}
            assert said_again() == " --root b --profile lite"
            assert said_again(with_profile=False) == " --root b"
            inner.params["config"] = Path("c.yaml")
            assert said_again() == " --root b --profile lite"
            assert said_again(with_config=True) == " --root b --config c.yaml --profile lite"
    assert said_again() == ""  # options from the environment are not repeated
    assert said_again(default_profile="lite") == " --profile lite"
    assert own == PlatformOptions(tmp_path / "b", tmp_path / "c.yaml", "lite")
    assert told() == [str(tmp_path / "b"), str(tmp_path / "c.yaml"), "lite"]  # absolute, for children elsewhere


def test_open__own_values_whatever_the_environment_says(tmp_path: Path) -> None:
    os.environ |= {"DATA_MINER_ROOT": str(tmp_path / "elsewhere"), "DATA_MINER_PROFILE": "standard"}
    platform = PlatformOptions(tmp_path / "root", None, "lite").open()
    assert (platform.root, platform.config.models.profile) == (tmp_path / "root", "lite")


def test_platform_options__what_the_environment_names_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.environ |= {"DATA_MINER_ROOT": "root", "DATA_MINER_CONFIG": "platform.yaml"}
    assert platform_options(None, None, None) == PlatformOptions(tmp_path / "root", tmp_path / "platform.yaml", None)
    assert told() == [str(tmp_path / "root"), str(tmp_path / "platform.yaml"), None]
