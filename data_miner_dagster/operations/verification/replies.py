"""What goes to a verifier and what comes back, whichever verifier it is."""

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
    """What became of a question. Without an answer it is asked again another time; `line` says why."""

    crop: Crop
    answer: BoxAnswer | None = None
    line: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


Keep = Callable[[Sequence[Reply]], None]
"""Stores replies that have an answer. Called in any thread, before anything else is made of them."""


class Verifier(Protocol):
    """Who is asked. `why_away` says why nothing more is asked for now; None as long as there is no reason."""

    name: str
    fingerprint: str
    why_away: str | None

    def replies(self, crops: Iterable[Crop], keep: Keep) -> Generator[Reply, None, None]:
        """Yield a reply to each crop, in any order. One with an answer has gone to `keep` before.

        Takes the next crop once there is room for it, and no more of them once it is away.

        Raises:
            ConfigError: it cannot be asked as it is configured.
            ModelError: the model cannot be had.
        """
        ...
