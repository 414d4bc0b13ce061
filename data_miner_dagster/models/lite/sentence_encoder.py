"""Embed sentences as unit vectors, using MiniLM with mean pooling."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import Float32Array

SENTENCE_DIM: Final = 384
_BATCH_SENTENCES: Final = 64


class SentenceEncoder:
    """all-MiniLM-L6-v2, loaded from a folder in the format of `save_pretrained`."""

    def __init__(self, tokenizer: Any, network: Any, device: str) -> None:
        self._tokenizer = tokenizer
        self._network = network
        self._device = device

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "SentenceEncoder":
        """Read the tokenizer and the network from a folder.

        Raises:
            ModelError: the folder lacks the tokenizer or the network.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads print a warning when a process forks
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            network = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder} does not contain a sentence encoder ({error}); remove the folder and fetch it again"
            ) from error
        return cls(tokenizer, network.eval().to(device), device)

    def embed(self, sentences: Sequence[str]) -> Float32Array:
        """Return the embeddings of the sentences, in order: (N, 384) unit vectors. N may be 0."""
        import torch

        vectors = np.zeros((len(sentences), SENTENCE_DIM), np.float32)
        # Sorted by length to reduce padding; a sentence's vector does not depend on its neighbours.
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        with torch.inference_mode():
            for start in range(0, len(order), _BATCH_SENTENCES):
                rows = order[start : start + _BATCH_SENTENCES]
                tokens = self._tokenizer(
                    [sentences[row] for row in rows], padding=True, truncation=True, return_tensors="pt"
                ).to(self._device)
                hidden = self._network(**tokens).last_hidden_state
                mask = tokens["attention_mask"].unsqueeze(-1)
                means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
                vectors[rows] = torch.nn.functional.normalize(means, dim=1).cpu().numpy()
        return vectors
