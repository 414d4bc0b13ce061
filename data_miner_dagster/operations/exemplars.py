"""Find the exemplar files of prompts and classes, and check that they can be used.

Belongs here: turning the paths in a project's configuration into files with a sha256. Does not belong here: the
embeddings of exemplars (prompts.py, models/detectors/), and their weight (stages/filtering/exemplars.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from data_miner_dagster.catalog.projects import find_project
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.filtering import FilteringConfig
from data_miner_dagster.config.project_limits import ProjectLimits
from data_miner_dagster.domain.errors import ConfigError, SourceError
from data_miner_dagster.domain.fingerprints import fingerprint_of, sha256_of_file
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.project_folder import base_folder_of, limits_of_file
from data_miner_dagster.sites.folders import located

MAX_EXEMPLAR_BYTES: Final = 50_000_000

PicturedConfig = FilteringConfig | DetectionConfig
"""A section of the configuration whose prompts or classes may have exemplars."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One exemplar. `name` is its path as written in the project file."""

    name: str
    path: Path
    sha256: str


def exemplars_of(platform: Platform, project: str, config: PicturedConfig) -> dict[str, tuple[Exemplar, ...]]:
    """Return the exemplars in a section of a project's configuration, by prompt text or class.

    Raises:
        ConfigError: an exemplar is missing, unreadable, too large, or outside the folders that the project's file may
            access.
    """
    if not config.exemplar_paths:
        return {}
    row = find_project(platform.database, project)
    config_file = row.config_file if row is not None else None
    return find_exemplars(config, base_folder_of(config_file), limits_of_file(platform, config_file))


def find_exemplars(
    config: PicturedConfig, folder: Path, limits: ProjectLimits | None = None
) -> dict[str, tuple[Exemplar, ...]]:
    """Return the exemplars in `config`, by prompt text or class.

    Relative paths are resolved against `folder`. If `limits` is None, files in any folder are allowed.

    Raises:
        ConfigError: an exemplar is missing, unreadable, larger than `MAX_EXEMPLAR_BYTES`, or outside the folders that
            `limits` allows.
    """
    section = "detection" if isinstance(config, DetectionConfig) else "filtering"
    return {
        text: tuple(_found(name, f"{section}: exemplar", text, folder, limits or ProjectLimits()) for name in names)
        for text, names in config.exemplar_paths.items()
    }


def hashes_of(exemplars: Mapping[str, Sequence[Exemplar]]) -> dict[str, tuple[str, ...]]:
    """Return the sha256 digests of each prompt's or class's exemplars, in order, for use in a fingerprint."""
    return {text: tuple(exemplar.sha256 for exemplar in beside) for text, beside in exemplars.items()}


def exemplar_basis(
    models: ModelProvider, config: FilteringConfig, exemplars: Mapping[str, Sequence[Exemplar]]
) -> dict[str, object]:
    """Return the part of a fingerprint that covers exemplars, or an empty dict if there are no exemplars."""
    return {"exemplars": [hashes_of(exemplars), exemplar_scale(models, config)]} if exemplars else {}


def exemplar_scale(models: ModelProvider, config: FilteringConfig) -> str:
    """Return the fingerprint of the exemplars' encoder and weight.

    Two similarities to exemplars are comparable only if this fingerprint is the same for both.
    """
    return fingerprint_of(
        {"encoder": models.encoder(config.exemplar_encoder).fingerprint, "weight": config.exemplar_weight}
    )


def _found(name: str, what: str, text: str, folder: Path, limits: ProjectLimits) -> Exemplar:
    try:
        path = located(name, folder)
        if problem := limits.problem_of_path(path):
            raise ConfigError(f"{what} of {text!r}: {problem}")
        status = path.stat()
        if not path.is_file() or status.st_size > MAX_EXEMPLAR_BYTES:
            raise ConfigError(
                f"{what} {name} of {text!r} is not a file, or is larger than {MAX_EXEMPLAR_BYTES // 10**6} MB; choose "
                "another file"
            )
        return Exemplar(name, path, _sha256(path, status.st_mtime_ns, status.st_size))
    except SourceError as error:
        raise ConfigError(f"{what} of {text!r}: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"{what} {folder / name} of {text!r} cannot be read ({error.strerror or error}); correct the path or the "
            "file's permissions"
        ) from error


@lru_cache(maxsize=4096)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    return sha256_of_file(path)
