from pathlib import Path

import pytest

from data_miner_dagster.config.loading import (
    config_hash,
    load_platform_config,
    load_project_file,
    resolve_root,
)
from data_miner_dagster.config.settings import PlatformConfig, StorageConfig
from data_miner_dagster.domain.errors import ConfigError

PROJECT = """\
name: bikes
sourcing:
  sources:
    - {type: files, paths: [clips]}
filtering:
  positive: [a bicycle]
detection:
  classes: {bicycle: []}
"""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_MINER_CONFIG", "DATA_MINER_ROOT", "DATA_MINER_CATALOG_URL"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str, name: str = "project.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problem_of(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigError) as raised:
        load_project_file(path)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_load_project_file__empty_file(tmp_path: Path) -> None:
    assert problem_of(tmp_path, "") == "the file is empty; `data-miner config schema` shows what it may contain"
    assert "must be a mapping" in problem_of(tmp_path, "# only a comment\n")
    assert "must be a mapping" in problem_of(tmp_path, "- a\n- b\n")


def test_load_project_file__missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist; check the path, or DATA_MINER_CONFIG"):
        load_project_file(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_project_file(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        load_project_file(binary)


def test_load_project_file__valid_file_with_platform_and_interpolation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPS", "/media/clips")
    text = PROJECT.replace("[clips]", "['${oc.env:CLIPS}']") + (
        "description: frames with ${filtering.positive[0]}\nplatform: {extraction: {every_seconds: 2}}\n"
    )
    file = load_project_file(write(tmp_path, text))
    assert file.sourcing.sources[0].model_dump()["paths"] == ("/media/clips",)
    assert file.description == "frames with a bicycle"
    assert file.platform.extraction.every_seconds == 2
    assert file.project.name == "bikes"


def test_load_project_file__syntax_error_has_its_line(tmp_path: Path) -> None:
    assert problem_of(tmp_path, PROJECT + "description: [a\n").startswith("line 10, column 1 is not valid YAML (")


def test_load_project_file__a_tab_is_named(tmp_path: Path) -> None:
    assert problem_of(tmp_path, PROJECT.replace("  positive", "\tpositive")).endswith(
        "; indent with spaces, not with a tab"
    )


def test_load_project_file__duplicate_key(tmp_path: Path) -> None:
    assert "found duplicate key name" in problem_of(tmp_path, PROJECT + "name: cars\n")


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("filterin: {}", "the key 'filterin' is unknown; did you mean 'filtering'?"),
        (
            "platform: {extraction: {every_second: 2}}",
            "the key 'every_second' in platform.extraction is unknown; did you mean 'every_seconds'?",
        ),
        ("platform: {extraction: {strategy: tim}}", "platform.extraction.strategy is 'tim'; did you mean 'time'?"),
        (
            "platform: {extraction: {every_seconds: -1}}",
            "platform.extraction.every_seconds is -1; it must be greater than 0",
        ),
        ("description: 12", "description is 12; it must be text: put it in quotes"),
        ("description:", "description is empty; it must be text"),
        ("description: [a]", "description is a list; it must be text"),
        ("description: ???", "description is '???'; give it a value"),
        ("releasing: 3", "releasing is 3; it must be a mapping of keys to values"),
        (
            "description: ${oc.env:NOT_SET_HERE}",
            "description: environment variable 'NOT_SET_HERE' is not set; set it, or write "
            "${oc.env:NOT_SET_HERE,default}",
        ),
        (
            "description: ${nope.x}",
            "description cannot be interpolated (Interpolation key 'nope.x' not found); "
            "write a reference from the top of the file, such as `${section.key}`",
        ),
    ],
)
def test_load_project_file__wrong_value_is_one_line(tmp_path: Path, extra: str, expected: str) -> None:
    assert problem_of(tmp_path, PROJECT + extra + "\n") == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("filtering:\n  positive: [a bicycle]\n", "", "filtering is missing: Which frames to keep, described in words"),
        (
            "positive: [a bicycle]",
            "positive: []",
            "filtering.positive has 0 entries but needs at least 1: Prompts for frames to keep",
        ),
        (
            "positive: [a bicycle]",
            "positive: a bicycle",
            "filtering.positive is 'a bicycle'; it must be a list, one entry per line, each after '- '",
        ),
        ("detection:\n  classes: {bicycle: []}\n", "", "detection is missing: Which classes to detect"),
        (
            "classes: {bicycle: []}",
            "classes: [bicycle, car]",
            "detection.classes: each class must have a list of phrases, which is [] if its name is the only phrase; "
            "write {bicycle: [], car: []}",
        ),
        (
            "classes: {bicycle: []}",
            "classes: bicycle",
            "detection.classes is 'bicycle': each class must have a list of phrases, which is [] if its name is the "
            "only phrase; write {bicycle: []}",
        ),
        ("type: files", "type: filez", "sourcing.sources.0.type is 'filez'; did you mean 'files'?"),
        (
            "paths:",
            "pathz:",
            "the key 'pathz' in sourcing.sources.0 is unknown; did you mean 'paths'?",
        ),  # rather than "missing"
        (
            "paths:",
            "where:",
            "the key 'where' in sourcing.sources.0 is unknown; use one of paths, type; "
            "sourcing.sources.0.paths is missing: Files, folders or globs",
        ),
    ],
)
def test_load_project_file__missing_prompt_class_or_source(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in PROJECT
    assert problem_of(tmp_path, PROJECT.replace(old, new)) == expected


def test_load_project_file__many_problems_stay_one_short_line(tmp_path: Path) -> None:
    message = problem_of(tmp_path, PROJECT + "platform: {a: 1, b: 2, c: 3, d: 4}\n")
    assert message.endswith("; and 1 more")


def test_load_project_file__secrets_are_never_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    message = problem_of(tmp_path, PROJECT + "platform: {models: {device: '${oc.env:TOKEN}'}}\n")
    assert "hunter2" not in message
    assert "platform.models.device is '${oc.env:TOKEN}' (interpolated)" in message
    message = problem_of(tmp_path, PROJECT + "platform: {storage: {catalog_url: [hunter2]}}\n")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        (
            "alerts: {targets: ['jsons://host/hunter2']}",
            "platform.alerts.targets.0 is a value that is not shown; it must be env:NAME",
        ),
        (
            "models: {endpoints: {eyes: {model: m, url: 'https://me:hunter2@host/v1'}}}",
            "platform.models.endpoints.eyes.url is a value that is not shown: string should match pattern",
        ),
        (
            "objects: {stores: {'s3://': {endpoint: 'https://me:hunter2@host'}}}",
            "platform.objects.stores.s3://.endpoint is a value that is not shown: string should match pattern",
        ),
        (
            "objects: {stores: {'s3://me:hunter2@bucket': {}}}",
            "platform.objects.stores.s3://***@bucket is a value that is not shown: the address contains credentials",
        ),
    ],
)
def test_load_project_file__addresses_with_secrets_are_not_shown(tmp_path: Path, platform: str, expected: str) -> None:
    message = problem_of(tmp_path, PROJECT + f"platform: {{{platform}}}\n")
    assert message.startswith(expected)
    assert "hunter2" not in message


@pytest.mark.parametrize("from_environment", [False, True])
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql//miner:hunter2@host/db",
            "is 'postgresql//***@host/db': the catalog must be in SQLite or PostgreSQL;",
        ),
        (
            "postgres://h@ck:hunter2@host/db",
            "is 'postgres://***@host/db': the catalog must be in SQLite or PostgreSQL;",
        ),
        ("postgresql://host:five/db?password=hunter2", "is 'postgresql://host:five/db?***': the port is not a number"),
        ("hunter2", "is '***': the catalog must be in SQLite or PostgreSQL"),
    ],
)
def test_load_project_file__a_catalog_url_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: str, from_environment: bool
) -> None:
    if from_environment:
        monkeypatch.setenv("DATA_MINER_CATALOG_URL", url)
        name, text = "DATA_MINER_CATALOG_URL", PROJECT
    else:
        name, text = "platform.storage.catalog_url", PROJECT + f"platform: {{storage: {{catalog_url: '{url}'}}}}\n"
    with pytest.raises(ConfigError) as refused:
        load_project_file(write(tmp_path, text))
    message = str(refused.value)
    assert f"{name} {expected}" in message
    assert "; write sqlite:////folder/catalog.sqlite or postgresql+psycopg2://" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////folder/catalog.sqlite",
        "sqlite://",
        "postgresql://host/db",
        "postgresql+psycopg2://us:pa%2Fss/word@[::1]:5432/db?sslmode=require",
        "postgresql://miner@/db?host=/var/run:1/x",
    ],
)
def test_load_project_file__a_catalog_url(tmp_path: Path, url: str) -> None:
    path = write(tmp_path, PROJECT + f"platform: {{storage: {{catalog_url: '{url}'}}}}\n")
    assert load_project_file(path).platform.storage.catalog_url == url


def test_load_project_file__platform_keys_left_out_come_from_the_platform_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = write(tmp_path, "platform: {models: {profile: lite}, extraction: {every_seconds: 5}}\n", "platform.yaml")
    monkeypatch.setenv("DATA_MINER_CONFIG", str(shared))
    own = load_project_file(write(tmp_path, PROJECT + "platform: {extraction: {every_seconds: 2}}\n")).platform
    assert own.models.profile == "lite"
    assert own.extraction.every_seconds == 2
    assert load_project_file(write(tmp_path, PROJECT)).platform.extraction.every_seconds == 5


def test_load_platform_config__nothing_named_gives_the_defaults() -> None:
    assert load_platform_config() == PlatformConfig()


def test_load_platform_config__standalone_or_project_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = write(tmp_path, "platform: {models: {profile: lite}}\n")
    assert load_platform_config(alone).models.profile == "lite"
    monkeypatch.setenv("DATA_MINER_CONFIG", str(alone))
    assert load_platform_config().models.profile == "lite"
    assert load_platform_config(write(tmp_path, PROJECT, "other.yaml")) == PlatformConfig()


def test_load_platform_config__section_without_its_heading(tmp_path: Path) -> None:
    path = write(tmp_path, "extraction: {every_seconds: 2}\n")
    with pytest.raises(
        ConfigError, match=r"the key 'extraction' is unknown; put it under 'platform:', as platform.extraction"
    ):
        load_platform_config(path)


def test_load_platform_config__unknown_key_has_its_full_name(tmp_path: Path) -> None:
    path = write(tmp_path, "platform: {models: {profil: lite}}\n")
    with pytest.raises(ConfigError, match=r"the key 'profil' in platform.models is unknown; did you mean 'profile'\?"):
        load_platform_config(path)


def test_load_platform_config__catalog_url_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_MINER_CATALOG_URL", "postgresql+psycopg2://somewhere/catalog")
    assert load_platform_config().storage.catalog_url == "postgresql+psycopg2://somewhere/catalog"


def test_resolve_root__precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = PlatformConfig(storage=StorageConfig(root="from_config"))
    assert resolve_root(None, config) == tmp_path / "from_config"
    monkeypatch.setenv("DATA_MINER_ROOT", str(tmp_path / "from_variable"))
    assert resolve_root(None, config) == tmp_path / "from_variable"
    assert resolve_root("from_flag", config) == tmp_path / "from_flag"


def test_config_hash__depends_on_the_project_alone(tmp_path: Path) -> None:
    plain = load_project_file(write(tmp_path, PROJECT))
    with_platform = load_project_file(write(tmp_path, PROJECT + "platform: {extraction: {every_seconds: 2}}\n"))
    changed = load_project_file(write(tmp_path, PROJECT.replace("a bicycle", "a tram")))
    assert config_hash(plain) == config_hash(plain.project) == config_hash(with_platform)
    assert config_hash(changed) != config_hash(plain)


def test_config_hash__order_of_the_classes_counts(tmp_path: Path) -> None:
    one = PROJECT.replace("{bicycle: []}", "{bicycle: [], tram: []}")
    other = PROJECT.replace("{bicycle: []}", "{tram: [], bicycle: []}")
    assert config_hash(load_project_file(write(tmp_path, one))) != config_hash(
        load_project_file(write(tmp_path, other))
    )
