"""The models of one configuration, each loaded at first use and once a process."""

from data_miner_dagster.config.models import ModelsConfig
from data_miner_dagster.protocols.detectors import ObjectDetector
from data_miner_dagster.protocols.encoders import ImageEncoder, ImageTextEncoder


class ModelProvider:
    """Names and fingerprints are known without loading anything; the models themselves load lazily."""

    def __init__(self, config: ModelsConfig) -> None:
        self.config = config

    @property
    def filter_encoder_name(self) -> str:
        """Registry name of the image-text encoder."""
        raise NotImplementedError

    @property
    def filter_encoder_fingerprint(self) -> str:
        """Equal to the loaded encoder's fingerprint, without loading it."""
        raise NotImplementedError

    @property
    def dedup_encoder_name(self) -> str:
        """Registry name of the image encoder."""
        raise NotImplementedError

    @property
    def dedup_encoder_fingerprint(self) -> str:
        """Equal to the loaded encoder's fingerprint, without loading it."""
        raise NotImplementedError

    @property
    def detector_name(self) -> str:
        """Registry name of the detector."""
        raise NotImplementedError

    @property
    def detector_fingerprint(self) -> str:
        """Equal to the loaded detector's fingerprint, without loading it."""
        raise NotImplementedError

    def filter_encoder(self) -> ImageTextEncoder:
        """Return the loaded image-text encoder."""
        raise NotImplementedError

    def dedup_encoder(self) -> ImageEncoder:
        """Return the loaded image encoder."""
        raise NotImplementedError

    def detector(self) -> ObjectDetector:
        """Return the loaded detector."""
        raise NotImplementedError
