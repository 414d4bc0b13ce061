"""Code shared by detectors that read each phrase as a separate text and embed it once.

Belongs here: the length of texts, and the embeddings of phrases. Does not belong here: the use of the embeddings (each
detector's module).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.models.detectors.phrase_detector import PhraseDetector

if TYPE_CHECKING:
    import torch

MAX_PHRASES: Final = 64
"""The maximum number of phrases per pass."""
MAX_EMBEDDED: Final = 4096
"""The maximum number of phrases whose embeddings are cached. A detector serves all projects of its process."""


class SeparatePhraseDetector(PhraseDetector):
    """A detector that embeds phrases without an image, so each is embedded once rather than once per image."""

    def __init__(
        self, network: Any, image_processor: Any, *, tokenizer: Any, name: str, fingerprint: str, device: str
    ) -> None:
        super().__init__(
            network, image_processor, tokenizer=tokenizer, name=name, fingerprint=fingerprint, device=device
        )
        self._embedded: dict[str, torch.Tensor] = {}

    @property
    def max_tokens(self) -> int:
        """The number of tokens in `MAX_PHRASES` phrases of full length."""
        return MAX_PHRASES * self.context_length

    def num_tokens(self, prompt: str) -> int:
        """Return the number of tokens to which a phrase is padded.

        Raises:
            ConfigError: the phrase has more tokens than the text encoder reads.
        """
        length = len(self.tokenizer(prompt.lower())["input_ids"])
        if length > self.context_length:
            raise ConfigError(
                f"detection.classes: the phrase {prompt!r} has {counted(length, 'token')}, but detector {self.name} "
                f"reads at most {self.context_length}; shorten the phrase"
            )
        return self.context_length

    def tokens_of(self, prompt: str) -> Any:
        """Return `input_ids` and `attention_mask` (1, T) of a phrase on the device, padded to the full length."""
        tokens = self.tokenizer(
            [prompt.lower()], padding="max_length", max_length=self.context_length, return_tensors="pt"
        )
        return tokens.to(self.device)

    @abstractmethod
    def embed(self, prompt: str) -> "torch.Tensor":
        """Return the network's embedding of one phrase. The first dimension has size 1."""

    def embedded(self, prompts: Sequence[str]) -> "list[torch.Tensor]":
        """Return the embedding of each phrase.

        Each is computed separately, so it does not depend on the other phrases of the class list.
        """
        if len(self._embedded) + len(prompts) > MAX_EMBEDDED:
            self._embedded.clear()
        for prompt in prompts:
            if prompt not in self._embedded:
                with self.inference():
                    self._embedded[prompt] = self.embed(prompt)
        return [self._embedded[prompt] for prompt in prompts]
