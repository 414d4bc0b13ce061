"""Generated files match the code, and explain everything that it defines."""

import re
from enum import StrEnum

import pytest

from data_miner_dagster.cli.main import _COMMANDS
from data_miner_dagster.domain import errors
from data_miner_dagster.domain.reasons import DropReason, RejectionRule, VideoErrorKind
from data_miner_dagster.domain.work import FailureKind
from data_miner_dagster.operations.upkeep.inspection import Discrepancy
from documentation.asset_graph import Asset, assets_of_code, draw
from documentation.commands import commands_page
from documentation.generated import GENERATED, REPOSITORY
from documentation.messages import messages_in, messages_section
from documentation.remedies import CLASSES, DISCREPANCIES, DROPS, REJECTIONS, RUNS, VIDEOS


@pytest.mark.parametrize("place", GENERATED)
def test_generated__is_up_to_date(place: str) -> None:
    assert (REPOSITORY / place).read_text(encoding="utf-8") == GENERATED[place](), "run `make docs`"


@pytest.mark.parametrize(
    ("kinds", "explained"),
    [
        (VideoErrorKind, VIDEOS),
        (FailureKind, RUNS),
        (RejectionRule, REJECTIONS),
        (DropReason, DROPS),
        (Discrepancy, DISCREPANCIES),
    ],
)
def test_remedies__explain_every_kind(kinds: type[StrEnum], explained: object) -> None:
    assert list(explained) == list(kinds)  # type: ignore[call-overload]


def test_remedies__explain_every_error_of_the_tree() -> None:
    tree = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert len(tree) > 20
    assert set(CLASSES) == tree - {errors.DataMinerError}


def test_remedies__name_settings_and_commands_that_exist() -> None:
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    keys = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:sourcing|filtering|deduplication|detection|releasing|platform)\.[\w.]+)`", page)
    assert len(set(named)) > 20
    assert [name for name in named if f"`{name}" not in keys] == []
    commands = {command.__name__.replace("_", "-") for panel in _COMMANDS.values() for command in panel}
    words = re.findall(r"`data-miner ([a-z-]+)", page)
    assert {"status", "retry", "doctor"} < set(words)
    assert set(words) - commands - {"models", "config", "review"} == set()


def test_commands_page__has_every_command_with_a_whole_sentence() -> None:
    page = commands_page()
    for panel, commands in _COMMANDS.items():
        assert f"**{panel}**" in page
        for command in commands:
            name = command.__name__.replace("_", "-")
            assert f"| [`{name}`](#data-miner-{name}) | " in page
            assert f"## `data-miner {name}`\n" in page
    assert "| [`models fetch`](#data-miner-models-fetch) | Fetch the models of a profile into the model cache" in page
    assert "**Commands**:" not in page


def test_messages_in__by_hand() -> None:
    source = (
        'raise ConfigError(f"{path}: cannot be read ({error}); write it again")\n'
        'raise VideoPermanentError(VideoErrorKind.POLICY, "its address is refused")\n'
        'raise ConfigError(f"{line}: {rest}")\nraise ValueError("a text of another class")\nraise ConfigError(line)\n'
    )
    assert list(messages_in(source)) == [
        ("ConfigError", "…: cannot be read (…); write it again"),
        ("VideoPermanentError", "its address is refused"),
    ]


def test_messages_section__has_messages_of_each_kind_of_mistake() -> None:
    section = messages_section()
    assert section.count("\n- `` ") > 300
    for name in ("ConfigError", "ModelError", "SourceError", "VideoPermanentError"):
        assert f"### {name}\n\n- `` " in section


def test_assets_of_code__come_after_what_they_are_made_from() -> None:
    assets = {asset.name: asset for asset in assets_of_code()}
    assert assets["videos"] == Asset("videos", ("project_videos",), "videos", "download")
    assert assets["filtered_frames"].parents == ("frame_embeddings", "project_videos")
    names = list(assets)
    assert all(names.index(parent) < names.index(asset.name) for asset in assets.values() for parent in asset.parents)


def test_draw__goes_around_what_lies_between() -> None:
    chain = [
        Asset("a", (), "projects", "x"),
        Asset("b", ("a",), "projects", "x"),
        Asset("c", ("a", "b"), "projects", "y"),
    ]
    drawing = draw(chain)
    assert drawing.count('class="asset"') == 3
    assert drawing.count('<path class="arrow" d="M210 ') == 2
    assert drawing.count('<path class="arrow" d="M85 79 C51 79 51 227 85 227"/>') == 1
    assert ">one partition per project<" in drawing
