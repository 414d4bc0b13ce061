"""Define the interface that endpoint and local verifiers share, with questions about boxes and replies to them."""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.domain.verification import BoxAnswer


@dataclass(frozen=True, slots=True)
class Crop:
    """One question about a box, with the crop to show to the verifier."""

    question_key: str  # identifies the question; its answer is stored under this key
    video_key: str
    prompt: str
    rgb: RgbImage


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to a question. If `answer` is None, `line` states the reason, and a later run asks again.

    The token counts and the cost are None if they are unknown or if the verifier is a local model.
    """

    crop: Crop
    answer: BoxAnswer | None = None
    line: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None


Keep = Callable[[Sequence[Reply]], None]
"""A function that stores the answers in replies. It is called before the replies are yielded, in any thread."""


class Verifier(Protocol):
    """A model that answers questions about crops. `why_away` is the reason why it is unavailable, or else None."""

    name: str
    fingerprint: str
    why_away: str | None

    def replies(self, crops: Iterable[Crop], keep: Keep) -> Generator[Reply, None, None]:
        """Yield the replies to crops, in any order. A reply with an answer is passed to `keep` before it is yielded.

        A crop is taken from `crops` only when the verifier has room for it. Once the verifier is unavailable, no more
        crops are taken, and crops that were taken may get no reply.

        Raises:
            ConfigError: the endpoint's settings are wrong.
            ModelError: the model is missing or cannot be loaded.
            SystematicFaultError: all crops (three or more), or ten in a row, cause the same internal error in a local
                model.
        """
        ...
