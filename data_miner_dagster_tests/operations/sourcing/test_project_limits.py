"""What a project file in the watched folder may read from environment and disk, unlike one that a user names."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import select, update

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.projects import find_project, find_projects
from data_miner_dagster.catalog.schema import ProjectRow, ProjectVideoRow, SourceListingRow
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import PlatformConfig
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.sourcing.registering import register_project_file
from data_miner_dagster.operations.sourcing.rules import load_rules
from data_miner_dagster.sensors.project_files import register_project_files
from data_miner_dagster_tests.support.small_videos import make_video

SECRET = "hf_SUPERSECRET1234"
LISTED = "{type: urls, urls: ['http://127.0.0.1:9/v.mp4']}"
PROJECT = """\
name: stranger
description: DESCRIPTION
sourcing:
  sources:
    - SOURCE
RULES
filtering: {positive: [a car]}
detection: {classes: {a: []}}
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DM_TEST_SECRET", SECRET)
    monkeypatch.setenv("DM_TEST_ALLOWED", "blue-green")
    folder = tmp_path / "outside"
    folder.mkdir()
    make_video(folder / "private.mp4")
    (folder / "queries.yaml").write_text("queries:\n- {password: SECRET_OF_A_FILE}\n")
    (folder / "list.txt").write_text("http://127.0.0.1:9/v.mp4\n")
    return folder


def make_platform(tmp_path: Path, **storage: object) -> Platform:
    platform = Platform(PlatformConfig.model_validate({"storage": storage}), tmp_path / "root")
    platform.layout.project_files.mkdir(parents=True)
    return platform


def drop(folder: Path, *, description: str = "d", source: str = LISTED, rules: str = "") -> Path:
    path = folder / "stranger.yaml"
    path.write_text(PROJECT.replace("DESCRIPTION", description).replace("SOURCE", source).replace("RULES", rules))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"description": "${oc.env:DM_TEST_SECRET}"},
        {"description": "${oc.env:DM_TEST_MISSING,${oc.env:DM_TEST_SECRET}}"},
        {"description": "'${oc.decode:${oc.env:DM_TEST_SECRET}}'"},
        {"source": "{type: urls, urls: ['http://127.0.0.1:9/?q=${oc.env:DM_TEST_SECRET}']}"},
        {"source": "{type: feeds, urls: ['http://127.0.0.1:9/{env:DM_TEST_SECRET}.xml']}"},
        {"source": "{type: search, queries: ['${oc.env:DM_TEST_SECRET}']}"},
        {"source": "{type: search, queries: ['{env:DM_TEST_SECRET}']}"},
        {"source": "{type: hashtags, hashtags: ['{env:DM_TEST_SECRET}']}"},
    ],
)
def test_register_project_files__no_variable_unless_it_is_allowed(
    tmp_path: Path, outside: Path, changes: dict[str, str]
) -> None:
    platform = make_platform(tmp_path)
    path = drop(platform.layout.project_files, **changes)
    (line,) = register_project_files(platform)
    assert "DM_TEST_SECRET" in line
    assert SECRET not in line
    assert find_projects(platform.database) == []
    # a file that the user names may read what it refers to
    elsewhere = shutil.copy(path, outside / "stranger.yaml")
    assert register_project_file(platform, Path(elsewhere)).is_changed


@pytest.mark.usefixtures("outside")
def test_register_project_files__an_allowed_variable_is_read(tmp_path: Path) -> None:
    platform = make_platform(tmp_path, project_variables=["DM_TEST_ALLOWED"])
    source = "{type: urls, urls: ['http://127.0.0.1:9/{env:DM_TEST_ALLOWED}.mp4']}"
    drop(platform.layout.project_files, description="${oc.env:DM_TEST_ALLOWED} ${name}", source=source)
    assert register_project_files(platform) == []
    assert platform.project_config("stranger").description == "blue-green stranger"


def test_list_sources__what_a_variable_holds_is_in_no_row_that_is_shown(tmp_path: Path, outside: Path) -> None:
    platform = make_platform(tmp_path, project_variables=["DM_TEST_ALLOWED"])
    (outside / "blue-green").mkdir()
    shutil.move(outside / "private.mp4", outside / "blue-green" / "a blue-green one.mp4")
    found, unfound = str(outside / "${oc.env:DM_TEST_ALLOWED}"), "${oc.env:DM_TEST_ALLOWED}/b.mp4"
    source = f"{{type: files, paths: ['{found}', '{unfound}']}}"
    rules = "  rules: {blocked_words: ['${oc.env:DM_TEST_ALLOWED}']}"
    drop(platform.layout.project_files, source=source, rules=rules)
    assert register_project_files(platform) == []
    outcome = list_sources(platform, "stranger")
    assert outcome.counts["members"] == 0
    assert "blue-green" not in str(outcome.metadata)
    (member,) = find_members(platform.database, "stranger")
    assert member.query == found
    assert "'${oc.env:DM_TEST_ALLOWED}'" in str(member.reason)
    assert "blue-green" not in str(member.reason)
    with platform.database.reading() as session:
        listings = {row.query: row.error for row in session.scalars(select(SourceListingRow))}
    assert listings.keys() == {found, unfound}
    assert "blue-green" not in str(listings.values())
    # rows as written by a version that did not mask values
    row = find_project(platform.database, "stranger")
    assert row is not None
    with platform.database.transaction() as session:
        session.execute(update(ProjectRow).values(config={k: v for k, v in row.config.items() if k != "interpolated"}))
        session.execute(update(ProjectVideoRow).values(query=str(outside / "blue-green"), reason="blue-green: no"))
        session.execute(update(SourceListingRow).values(error="blue-green/b.mp4: no such file"))
    assert register_project_files(platform) == []
    (member,) = find_members(platform.database, "stranger")
    assert (member.query, member.reason) == (found, "${oc.env:DM_TEST_ALLOWED}: no")
    with platform.database.reading() as session:
        assert {row.error for row in session.scalars(select(SourceListingRow))} == {f"{unfound}: no such file"}
    assert platform.project_config("stranger").shown.text("blue-green") == "${oc.env:DM_TEST_ALLOWED}"


@pytest.mark.parametrize("name", ["'!${oc.env:DM_TEST_SECRET}'", "${oc.env:DM_TEST_SECRET}/x"])
def test_register_project_file__an_error_repeats_no_value_of_a_variable(
    tmp_path: Path, outside: Path, name: str
) -> None:
    path = outside / "p.yaml"
    path.write_text(PROJECT.replace("name: stranger", f"name: {name}").replace("- SOURCE\nRULES", "- {type: urls}"))
    with pytest.raises(ConfigError) as refused:
        register_project_file(make_platform(tmp_path), path)
    assert SECRET not in str(refused.value)
    assert "${oc.env:DM_TEST_SECRET}" in str(refused.value)


@pytest.mark.parametrize(
    ("source", "needs_setting"),
    [
        ("{type: search, query_files: ['OUTSIDE/queries.yaml']}", False),
        ("{type: search, query_files: ['OUTSIDE/*.yaml']}", False),
        ("{type: url_files, paths: ['OUTSIDE/list.txt']}", False),
        ("{type: url_files, paths: ['link.txt']}", False),
        ("{type: files, paths: ['OUTSIDE/private.mp4']}", True),
        ("{type: files, paths: ['../../outside']}", True),
        ("{type: frames, folders: ['OUTSIDE/frames']}", True),
        ("{type: frames, folders: [pictures]}", True),
    ],
)
def test_list_sources__no_file_outside_of_the_folders_allowed(
    tmp_path: Path, outside: Path, source: str, needs_setting: bool
) -> None:
    allowed = {"project_paths": [str(tmp_path / "elsewhere")]} if needs_setting else {}
    platform = make_platform(tmp_path, **allowed)
    (platform.layout.project_files / "link.txt").symlink_to(outside / "list.txt")
    (outside / "frames").mkdir()
    (outside / "frames" / "a.jpg").write_bytes(b"x")
    (platform.layout.project_files / "pictures").mkdir()
    (platform.layout.project_files / "pictures" / "a.jpg").symlink_to(outside / "frames" / "a.jpg")
    drop(platform.layout.project_files, source=source.replace("OUTSIDE", str(outside)))
    assert register_project_files(platform) == []
    with pytest.raises(ConfigError, match=r"add its folder to platform\.storage\.project_paths") as refused:
        list_sources(platform, "stranger")
    assert "SECRET_OF_A_FILE" not in str(refused.value)
    assert find_videos(platform.database) == []


def test_list_sources__a_folder_that_is_allowed(tmp_path: Path, outside: Path) -> None:
    platform = make_platform(tmp_path, project_paths=[str(outside)])
    drop(platform.layout.project_files, source=f"{{type: files, paths: ['{outside}']}}")
    assert register_project_files(platform) == []
    assert list_sources(platform, "stranger").counts["members"] == 1


def test_list_sources__videos_lie_anywhere_by_default(tmp_path: Path, outside: Path) -> None:
    platform = make_platform(tmp_path)
    drop(platform.layout.project_files, source=f"{{type: files, paths: ['{outside}']}}")
    assert register_project_files(platform) == []
    assert list_sources(platform, "stranger").counts["members"] == 1


@pytest.mark.usefixtures("outside")
def test_list_sources__a_line_of_a_list_reads_no_variable(tmp_path: Path) -> None:
    platform = make_platform(tmp_path)
    folder = platform.layout.project_files
    (folder / "list.txt").write_text("http://127.0.0.1:9/{env:DM_TEST_SECRET}.mp4\nhttp://127.0.0.1:9/v.mp4\n")
    drop(folder, source="{type: url_files, paths: [list.txt]}")
    assert register_project_files(platform) == []
    outcome = list_sources(platform, "stranger")
    assert (outcome.counts["members"], outcome.counts["failed_sources"]) == (1, 1)


@pytest.mark.usefixtures("outside")
def test_list_sources__a_search_of_a_list_reads_no_variable(tmp_path: Path) -> None:
    platform = make_platform(tmp_path)
    folder = platform.layout.project_files
    (folder / "queries.yml.txt").write_text("['{env:DM_TEST_SECRET}']\n")
    drop(folder, source="{type: search, query_files: [queries.yml.txt]}")
    assert register_project_files(platform) == []
    with pytest.raises(ConfigError, match="may not read the environment variable DM_TEST_SECRET"):
        list_sources(platform, "stranger")


@pytest.mark.usefixtures("outside")
def test_list_sources__a_variable_that_was_allowed_once(tmp_path: Path) -> None:
    platform = make_platform(tmp_path, project_variables=["DM_TEST_ALLOWED"])
    drop(platform.layout.project_files, source="{type: urls, urls: ['http://127.0.0.1:9/{env:DM_TEST_ALLOWED}.mp4']}")
    assert register_project_files(platform) == []
    stricter = Platform(PlatformConfig(), tmp_path / "root")
    with pytest.raises(ConfigError, match="may not read the environment variable DM_TEST_ALLOWED"):
        list_sources(stricter, "stranger")


def test_load_rules__a_blocklist_outside(tmp_path: Path, outside: Path) -> None:
    platform = make_platform(tmp_path)
    drop(platform.layout.project_files, rules=f"  rules: {{blocked_channels_file: '{outside / 'list.txt'}'}}")
    assert register_project_files(platform) == []
    remedy = "move it into the watched folder, or add its folder to platform.storage.project_paths"
    with pytest.raises(ConfigError, match=rf"blocklist .* is outside .*; {remedy}, which must then also list every"):
        load_rules(platform, "stranger")
