"""Load the configuration from YAML and environment variables, interpolate it, and validate it with pydantic.

Every mistake becomes a one-line `ConfigError` that gives the file, the key or position, and a remedy. Belongs here:
reading files and environment variables. Does not belong here: fields and ranges (the other modules of this folder), or
code that acts on the settings.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigTypeError,
    KeyValidationError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    UnsupportedValueType,
)
from pydantic import BaseModel, ValidationError

from data_miner_dagster.config.environment import CATALOG_URL_VARIABLE, CONFIG_VARIABLE, ROOT_VARIABLE
from data_miner_dagster.config.interpolation import find_interpolations, variables_in
from data_miner_dagster.config.problems import describe_problems, did_you_mean
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.config.settings import PlatformConfig, ProjectConfig, ProjectFile
from data_miner_dagster.config.text_files import check_interpolations, check_yaml_shape, read_text_file
from data_miner_dagster.domain.catalog_urls import problem_of_catalog_url, shown_catalog_url
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.secret_values import remember_reference, with_references

_UNLIMITED: Final = ProjectLimits()
_SCHEMA_HINT: Final = "`data-miner config schema` shows what it may contain"
_UNFORESEEN: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors that parsers raise on unexpected text. They are permanent, since the same file always raises them again."""

_Model = TypeVar("_Model", bound=BaseModel)
_Content = dict[str, object]
ParseFile = Callable[[Path], _Content]
"""A function that returns the content of a file before interpolation, like `parse_file`."""


def load_project_file(path: Path, limits: ProjectLimits = _UNLIMITED, parse: ParseFile | None = None) -> ProjectFile:
    """Load and validate a project file. Omitted keys of `platform` come from the file that DATA_MINER_CONFIG names.

    DATA_MINER_CATALOG_URL overrides `platform.storage.catalog_url`.

    Args:
        path: the project file.
        limits: the variables, files and buckets that the file may read, from `limits_of`.
        parse: a function that replaces `parse_file`, for example to run it in another process.

    Raises:
        ConfigError: the project file or the one that DATA_MINER_CONFIG names is missing or invalid, `limits` forbids
            a reference in the project file, or DATA_MINER_CATALOG_URL is not a valid URL.
    """
    unresolved, resolved = _read(path, limits, parse or parse_file)
    interpolations = find_interpolations(unresolved, resolved).outside_of("platform")
    base = _platform_content(_platform_path())
    platform = resolved.get("platform") or {}
    if base and isinstance(platform, Mapping):
        resolved = {**resolved, "platform": _merged(base, platform)}
    file = _validated(ProjectFile, resolved, unresolved, path)
    file = file.model_copy(update={"platform": _with_environment(file.platform)})
    return file.with_interpolations(interpolations)


def load_platform_config(path: Path | None = None) -> PlatformConfig:
    """Load the platform's settings from a file's `platform` section. Without a file or section, return the defaults.

    `path` is a project file, or a file with only a `platform` section. If it is None, the file that DATA_MINER_CONFIG
    names is read, if there is one. DATA_MINER_CATALOG_URL overrides `storage.catalog_url`.

    Raises:
        ConfigError: the file is missing or invalid, or DATA_MINER_CATALOG_URL is not a valid URL.
    """
    path = path if path is not None else _platform_path()
    content = _platform_content(path)
    if path is None or not content:
        return _with_environment(PlatformConfig())
    return _with_environment(_validated(PlatformConfig, content, {}, path, prefix="platform."))


def is_platform_file(path: Path) -> bool:
    """Return whether a file has a `platform` section and nothing else.

    Raises:
        ConfigError: the file cannot be read or parsed, or one of its references cannot be resolved.
    """
    return set(_read(path)[0]) == {"platform"}


def config_hash(config: ProjectConfig) -> str:
    """Return a hash of a project's entire configuration, without `platform`.

    The order of entries in a mapping matters, because the order of the classes determines their ids.
    """
    return fingerprint_of({"project": config.model_dump_json(include=set(ProjectConfig.model_fields))})


def resolve_root(flag: Path | str | None, config: PlatformConfig) -> Path:
    """Return the absolute path of the root folder.

    `flag` (the value of `--root`) takes precedence, followed by DATA_MINER_ROOT and `platform.storage.root`. A relative
    path is relative to the working directory.
    """
    chosen = str(flag) if flag is not None else os.environ.get(ROOT_VARIABLE) or config.storage.root
    return Path(chosen).expanduser().absolute()


def resolve_project_files(config: PlatformConfig, default: Path) -> Path:
    """Return the path of the folder to watch: `platform.storage.project_files` if it is set, or else `default`."""
    named = config.storage.project_files
    return Path(named).expanduser().absolute() if named is not None else default


def _platform_path() -> Path | None:
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else None


def _platform_content(path: Path | None) -> _Content:
    """Return a file's `platform` section, resolved and validated, as plain values.

    The result is empty if there is no file or no section.
    """
    if path is None:
        return {}
    unresolved, resolved = _read(path)
    known = set(ProjectFile.model_fields)
    for key in resolved:
        if key not in known:
            hint = f"; put it under 'platform:', as platform.{key}" if key in PlatformConfig.model_fields else None
            raise ConfigError(f"{path}: the key {key!r} is unknown{hint or did_you_mean(key, sorted(known))}")
    section = resolved.get("platform")
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise ConfigError(
            f"{path}: the value of platform has type {type(section).__name__}; write a mapping of keys to values"
        )
    _validated(PlatformConfig, section, unresolved.get("platform"), path, prefix="platform.")
    return section


def _with_environment(config: PlatformConfig) -> PlatformConfig:
    url = os.environ.get(CATALOG_URL_VARIABLE)
    if url and (problem := problem_of_catalog_url(url)):
        raise ConfigError(f"{CATALOG_URL_VARIABLE} is {shown_catalog_url(url)}: {problem}")
    return (
        config.model_copy(update={"storage": config.storage.model_copy(update={"catalog_url": url})}) if url else config
    )


def _merged(base: Mapping[str, object], overlay: Mapping[str, object]) -> _Content:
    """Return `base` with `overlay` merged over it recursively, key by key."""
    merged = dict(base)
    for key, value in overlay.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _validated(
    model: type[_Model], content: Mapping[str, object], unresolved: object, path: Path, prefix: str = ""
) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        # `from None`, because pydantic's own text repeats the values, including secrets.
        problems = describe_problems(error, model, unresolved, prefix)
        raise ConfigError(f"{path}: {with_references(problems)}") from None


def parse_file(path: Path) -> _Content:
    """Parse a file into plain values of bounded size, before interpolation.

    Raises:
        ConfigError: the file is missing, unreadable, empty, unreasonably large, or not a YAML mapping.
    """
    try:
        text = read_text_file(path)
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist; check the path, or {CONFIG_VARIABLE} if that names the file"
        ) from None
    if not text.strip():
        raise ConfigError(f"{path}: the file is empty; {_SCHEMA_HINT}")
    with _one_line(path):
        if check_yaml_shape(text) is not yaml.MappingStartEvent:
            raise ConfigError(f"the file must be a mapping of keys to values; {_SCHEMA_HINT}")
        loaded = OmegaConf.create(text, max_yaml_expanded_nodes=None)  # check_yaml_shape has counted the nodes
        content = OmegaConf.to_container(loaded, resolve=False)
        check_interpolations(content, len(text))
    if not content:
        raise ConfigError(f"{path}: the file must be a mapping of keys to values; {_SCHEMA_HINT}")
    return _with_text_keys(content)


def _read(path: Path, limits: ProjectLimits = _UNLIMITED, parse: ParseFile = parse_file) -> tuple[_Content, _Content]:
    """Read a file's content before and after interpolation, and register the values of its environment variables.

    Messages show references in place of registered values.

    Raises:
        ConfigError: the file cannot be parsed, `limits` forbids one of its references, or an interpolation fails.
    """
    unresolved = parse(path)
    with _one_line(path):
        limits.check_references(unresolved)
        for name in variables_in(unresolved):
            remember_reference(os.environ.get(name, ""), f"${{oc.env:{name}}}")
        resolved = OmegaConf.to_container(OmegaConf.create(unresolved), resolve=True, throw_on_missing=True)
    return unresolved, _with_text_keys(resolved)


def _is_at_tab(path: Path, mark: yaml.Mark | None) -> bool:
    """Return whether there is a tab at `mark` in a file. libyaml's message does not mention tabs."""
    lines = path.read_bytes().split(b"\n")
    return mark is not None and mark.line < len(lines) and lines[mark.line][mark.column : mark.column + 1] == b"\t"


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Convert errors from parsing and interpolation to a one-line `ConfigError` that names the file.

    The message also gives the position of a YAML error, or the key of an interpolation error.
    """
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else "the file"
        problem = (error.problem or error.context or "syntax error").replace("\n", " ")
        remedy = (
            "indent with spaces, not with a tab" if _is_at_tab(path, mark) else "check indentation, colons and quotes"
        )
        raise ConfigError(f"{path}: {where} is not valid YAML ({problem}); {remedy}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML ({' '.join(str(error).split())}); correct the text") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {with_references(_interpolation_problem(error))}") from None
    except _UNFORESEEN as error:
        raise ConfigError(
            f"{path} cannot be parsed ({type(error).__name__}); undo recent changes until the file can be parsed, and "
            "report the problem"
        ) from None


def _with_text_keys(content: object) -> _Content:
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def _interpolation_problem(error: OmegaConfBaseException) -> str:
    key = error.full_key or error.key or "a value"
    message = (error.msg or str(error)).splitlines()[0].strip()
    if isinstance(error, MissingMandatoryValue):
        return f"{key} is '???'; give it a value"
    if "Environment variable" in message:
        variable = message.split("'")[1] if "'" in message else ""
        return f"{key}: environment variable {variable!r} is not set; set it, or write ${{oc.env:{variable},default}}"
    if isinstance(error, KeyValidationError):
        return f"{key} contains a name that is not text in YAML, such as null; put it in quotes"
    if isinstance(error, UnsupportedValueType | ConfigTypeError):
        return f"{key}: {message[:1].lower()}{message[1:]}; {_SCHEMA_HINT}"
    return (
        f"{key} cannot be interpolated ({message}); write a reference from the top of the file, such as "
        "`${section.key}`"
    )
