"""The interface of verifiers of any kind: questions about boxes, and replies."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.domain.verification import BoxAnswer


@dataclass(frozen=True, slots=True)
class Crop:
    """One question about a box, and the picture to show with it."""

    question_key: str
    video_key: str
    prompt: str
    rgb: RgbImage


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a question. If it has no answer, `line` has the reason, and the question is asked again later."""

    crop: Crop
    answer: BoxAnswer | None = None
    line: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


Keep = Callable[[Sequence[Reply]], None]
"""Stores replies that have an answer, before they are used. Called in any thread."""


class Verifier(Protocol):
    """Answers questions about crops. `why_away` is the reason why it is unavailable; None if it is available."""

    name: str
    fingerprint: str
    why_away: str | None

    def replies(self, crops: Iterable[Crop], keep: Keep) -> Generator[Reply, None, None]:
        """Yield a reply to each crop, in any order. Replies with an answer are passed to `keep` first.

        The next crop is taken only when there is room for it, and none is taken once the verifier is unavailable.

        Raises:
            ConfigError: the verifier cannot be asked with its settings.
            ModelError: the model is missing or cannot be loaded.
        """
        ...
