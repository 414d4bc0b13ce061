"""Questions to any verifier, and its replies."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.domain.verification import BoxAnswer


@dataclass(frozen=True, slots=True)
class Crop:
    """One question, with its picture."""

    question_key: str
    video_key: str
    prompt: str
    rgb: RgbImage


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a question. Without an answer, it is asked again another time, and `line` says why."""

    crop: Crop
    answer: BoxAnswer | None = None
    line: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


Keep = Callable[[Sequence[Reply]], None]
"""Stores replies that have an answer. Called in any thread, before they are used."""


class Verifier(Protocol):
    """Who is asked. `why_away` says why nothing more is asked now; None if it is available."""

    name: str
    fingerprint: str
    why_away: str | None

    def replies(self, crops: Iterable[Crop], keep: Keep) -> Generator[Reply, None, None]:
        """Yield a reply to each crop, in any order. Those with an answer were passed to `keep` before.

        Takes the next crop once there is room for it, and no more once the verifier is unavailable.

        Raises:
            ConfigError: it cannot be asked with its configuration.
            ModelError: the model is missing or cannot be loaded.
        """
        ...
