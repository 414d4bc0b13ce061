"""Store, beside the project's tables, the inputs that `data-miner rebuild` needs to reproduce a release.

The inputs are the catalog rows at the time of the release, the calibration of boxes, the fingerprint of each video's
frames, and the versions of everything that affects the result. Images, videos and vectors are not copied: `rebuild`
uses those in the root.
"""

import json
import platform as machine
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from data_miner_dagster.catalog.project_rows import StoredRow, rows_of_project
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.settings import ProjectConfig
from data_miner_dagster.domain.errors import ConfigError, DamagedFileError, DataMinerError, ModelError
from data_miner_dagster.domain.fingerprints import embeddings_fingerprint_of, fingerprint_of, sha256_of_file
from data_miner_dagster.domain.statuses import VideoStatus
from data_miner_dagster.domain.versions import BUILD_VERSIONS
from data_miner_dagster.export.manifest import MANIFEST_FILE
from data_miner_dagster.operations.deduplication.others import foreign_fingerprints
from data_miner_dagster.operations.exemplars import PicturedConfig, exemplars_of, hashes_of
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.split_memory import release_versions
from data_miner_dagster.stages.releasing import version_number
from data_miner_dagster.storage.frames import frames_identity
from data_miner_dagster.storage.tables import read_batches, read_metadata, table_writer
from data_miner_dagster.storage.vectors import read_vectors_fingerprint

DECIDING_PACKAGES: Final = (
    "av",
    "faiss-cpu",
    "numpy",
    "onnxruntime",
    "opencv-python",
    "pillow",
    "pyarrow",
    "simplejpeg",
    "timm",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
    "ultralytics",
)
"""The packages whose versions affect the bytes of a release."""
VIDEO_TABLE: Final = "frames of a video"
FILE_TABLE: Final = "file"
_SCHEMA: Final = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        pa.field("video_key", pa.string()),
        pa.field("content", pa.string(), nullable=False),
    ]
)
_RECIPE_KEY: Final = "recipe"
_FORMAT: Final = 1
_ROWS_A_GROUP: Final = 5000
_GONE: Final = "gone"
_GONE_MODELS: Final[dict[str, tuple[str, str]]] = {"filter_encoder": (_GONE, ""), "detector 1": (_GONE, "")}

Known = TypeVar("Known")


@dataclass(frozen=True, slots=True)
class Recipe:
    """The versions and fingerprints of a release's inputs, without the stored rows."""

    packages: Mapping[str, str]  # versions by name, including Python's version and the kind of machine
    stages: Mapping[str, int]  # versions by stage
    models: Mapping[str, tuple[str, str]]  # names and fingerprints by role
    tables: Mapping[str, str]  # fingerprints of the project's tables by name
    earlier: Mapping[str, str]  # sha256s of the manifests of earlier releases by version
    against: str  # fingerprint of the other projects and releases that the project was compared with
    exemplars: Mapping[str, tuple[str, ...]]  # sha256s of exemplars, keyed as by `exemplar_hashes`


def are_models_unknown(recipe: Recipe) -> bool:
    """Return whether a recipe has placeholders instead of the release's models.

    This is the case if one of the models was missing when the release was built.
    """
    return any(name == _GONE for name, _ in recipe.models.values())


def present_recipe(platform: Platform, config: ProjectConfig, version_name: str, tables: Mapping[str, str]) -> Recipe:
    """Return the recipe of a release that is built now.

    If any models, exemplars, compared projects or compared releases are missing, a placeholder replaces that part of
    the recipe, because only earlier stages need it.

    Args:
        platform: the platform of one root.
        config: the project's configuration.
        version_name: the version of the release.
        tables: the fingerprints of the project's tables, by name.
    """
    return Recipe(
        packages={**versions_of_packages(), **python_and_machine()},
        stages=dict(BUILD_VERSIONS),
        models=known_or(lambda: fingerprints_of_models(platform, config), _GONE_MODELS),
        tables=dict(tables),
        earlier=earlier_manifests(platform, config.name, version_name),
        against=known_or(lambda: against_fingerprint(platform, config), _GONE),
        exemplars=known_or(lambda: exemplar_hashes(platform, config), {_GONE: ()}),
    )


@cache
def versions_of_packages() -> dict[str, str]:
    """Return the version of each installed package in DECIDING_PACKAGES, by name."""
    found = {}
    for name in DECIDING_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def exemplar_hashes(platform: Platform, config: ProjectConfig) -> dict[str, tuple[str, ...]]:
    """Return the sha256s of the exemplars of a project's prompts and classes, keyed by `prompt TEXT` or `class NAME`.

    Raises:
        ConfigError: an exemplar's file is missing or cannot be read.
    """
    sections: Mapping[str, PicturedConfig] = {"prompt": config.filtering, "class": config.detection}
    return {
        f"{kind} {text}": hashes
        for kind, section in sections.items()
        for text, hashes in hashes_of(exemplars_of(platform, config.name, section)).items()
    }


def against_fingerprint(platform: Platform, config: ProjectConfig) -> str:
    """Return the fingerprint of the other projects and releases that deduplication compares a project with.

    Raises:
        ConfigError: one of these projects or releases has no frames to compare with.
    """
    return fingerprint_of(foreign_fingerprints(platform, config.name, config.deduplication))


def known_or(look: Callable[[], Known], otherwise: Known) -> Known:
    """Return the result of `look`, or `otherwise` if `look` raises a ConfigError or ModelError."""
    try:
        return look()
    except (ConfigError, ModelError):
        return otherwise


def python_and_machine() -> dict[str, str]:
    """Return Python's major and minor version and the machine type, under the keys `Python` and `machine`."""
    return {"Python": ".".join(machine.python_version_tuple()[:2]), "machine": machine.machine()}


def fingerprints_of_models(platform: Platform, config: ProjectConfig) -> dict[str, tuple[str, str]]:
    """Return the name and fingerprint of each model that a project uses, except its verifier, by role.

    Raises:
        ConfigError: a model is unknown, or cannot be used in its role.
        ModelError: the folder of a model is missing.
    """
    models = platform.models
    found = {"filter_encoder": (models.filter_encoder.name, models.filter_encoder.fingerprint)}
    if config.uses_of_dedup_encoder:
        found["dedup_encoder"] = (models.dedup_encoder.name, models.dedup_encoder.fingerprint)
    detectors = platform.models.detectors(config.detection.detectors)
    found |= {f"detector {number}": (one.name, one.fingerprint) for number, one in enumerate(detectors, start=1)}
    if config.detection.tracker_model is not None:
        tracker = models.video_tracker(config.detection.tracker_model)
        found["tracker"] = (tracker.name, tracker.fingerprint)
    return found


def earlier_manifests(platform: Platform, project: str, version_name: str) -> dict[str, str]:
    """Return the manifest's sha256 for each release on disk that is older than `version_name`, by version."""
    layout, number = platform.layout, version_number(version_name)
    return {
        name: sha256_of_file(layout.release_folder(project, name) / MANIFEST_FILE)
        for name in release_versions(platform, project)
        if version_number(name) < number
    }


@contextmanager
def stored_inputs(
    platform: Platform, config: ProjectConfig, version_name: str, tables: Mapping[str, str]
) -> Iterator[None]:
    """Store the inputs of the release that the block publishes, and remove them if the block fails.

    If inputs were already stored, the new ones replace them and stay even if the block fails. The caller must hold the
    project's claim. If the disk is full, removing the inputs also frees the space that is needed to give up the claim.
    """
    path = platform.layout.release_inputs(config.name, version_name)
    is_new = not path.exists()
    _store_inputs(platform, config, version_name, tables)
    try:
        yield
    except BaseException:
        if is_new:
            path.unlink(missing_ok=True)
        raise


def _store_inputs(platform: Platform, config: ProjectConfig, version_name: str, tables: Mapping[str, str]) -> None:
    recipe = present_recipe(platform, config, version_name, tables)
    content = {"format": _FORMAT, **{name: getattr(recipe, name) for name in Recipe.__dataclass_fields__}}
    path = platform.layout.release_inputs(config.name, version_name)
    metadata = {_RECIPE_KEY: json.dumps(content, sort_keys=True)}
    with (
        platform.database.reading() as session,
        table_writer(path, _SCHEMA, fingerprint=fingerprint_of(content), metadata=metadata) as writer,
    ):
        portion: list[StoredRow] = []
        for row in _all_rows(platform, config, rows_of_project(session, config.name)):
            portion.append(row)
            if len(portion) == _ROWS_A_GROUP:
                writer.write_table(_table(portion))
                portion = []
        writer.write_table(_table(portion))


def _all_rows(platform: Platform, config: ProjectConfig, rows: Iterable[StoredRow]) -> Iterator[StoredRow]:
    yield from rows
    calibration = platform.layout.box_calibration(config.name)
    if calibration.is_file():
        yield StoredRow(FILE_TABLE, None, calibration.read_text(encoding="utf-8"))
    encoder = platform.models.filter_encoder
    for video in find_videos(platform.database, project=config.name):
        found = frames_identity(platform.layout, video.key) if video.status is VideoStatus.EXTRACTED else None
        if found is None:
            continue
        file = platform.layout.embedding_file(encoder.name, video.key)
        wanted = embeddings_fingerprint_of(found.fingerprint, encoder.fingerprint)
        content = {"frames": found.fingerprint, "is_embedded": read_vectors_fingerprint(file) == wanted}
        yield StoredRow(VIDEO_TABLE, video.key, json.dumps(content))


def _table(rows: Iterable[StoredRow]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"table": row.table, "video_key": row.video_key, "content": row.content} for row in rows], schema=_SCHEMA
    )


def read_recipe(path: Path) -> Recipe | None:
    """Return the versions and fingerprints in a file of stored inputs.

    Return None if the file does not exist, is damaged, or was written in another format by another version of this
    package.
    """
    content: dict[str, Any] = json.loads(read_metadata(path).get(_RECIPE_KEY, "{}"))
    if content.pop("format", None) != _FORMAT:
        return None
    content["models"] = {role: (name, fingerprint) for role, (name, fingerprint) in content["models"].items()}
    content["exemplars"] = {text: tuple(hashes) for text, hashes in content["exemplars"].items()}
    return Recipe(**content)


def read_stored_rows(path: Path) -> Iterator[StoredRow]:
    """Yield the rows in a file of stored inputs: catalog rows, facts about videos, and files.

    Raises:
        DataMinerError: the file is damaged. Nothing can recreate it.
    """
    try:
        yield from _rows(path)
    except DamagedFileError as error:
        raise DataMinerError(
            f"{path} is damaged, so release {path.stem} cannot be rebuilt; restore this file, or the release, from a "
            "backup"
        ) from error


def _rows(path: Path) -> Iterator[StoredRow]:
    for batch in read_batches(path, _SCHEMA.names):
        for row in batch.to_pylist():
            yield StoredRow(row["table"], row["video_key"], row["content"])


def forget_inputs(folder: Path, video_keys: Iterable[str]) -> None:
    """Remove the stored inputs in a folder that mention any of the given videos, or that are damaged and may do so.

    The corresponding releases can then no longer be rebuilt.
    """
    keys = list(video_keys)
    for path in sorted(folder.glob("*.parquet")):
        try:
            is_about = any(key in row.content or row.video_key == key for row in _rows(path) for key in keys)
        except DamagedFileError:
            is_about = True
        if is_about:
            path.unlink()
