"""The interface of a local model that examines crops of detected boxes."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from data_miner_dagster.domain.records import RgbImage


@runtime_checkable
class CropVerifier(Protocol):
    """Answers questions about crops in text. `fingerprint` changes with weights, revision and processing."""

    name: str
    fingerprint: str

    def answer(self, pictures: Sequence[RgbImage], prompts: Sequence[str]) -> list[str]:
        """Return the model's unchanged answer to each prompt about the crop at the same position in `pictures`."""
        ...
