"""Embed sentences as unit vectors, using MiniLM with mean pooling.

The network is computed here, with the same operations and the same bits as transformers' BertModel, since importing and
setting up the latter takes seconds in every process.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import Float32Array

if TYPE_CHECKING:
    import torch

SENTENCE_DIM: Final = 384
_BATCH_SENTENCES: Final = 64
_MAX_TOKENS: Final = 512


class SentenceEncoder:
    """all-MiniLM-L6-v2, loaded from a folder in the format of `save_pretrained`."""

    def __init__(self, tokenizer: Any, network: "_Bert") -> None:
        self._tokenizer = tokenizer
        self._network = network

    @classmethod
    def load(cls, folder: Path) -> "SentenceEncoder":
        """Read the tokenizer and the network from a folder.

        Raises:
            ModelError: the folder lacks the tokenizer or the network.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads print a warning when a process forks
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            network = _Bert(load_file(folder / "model.safetensors"), config)
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # `tokenizers` raises nothing narrower
            raise ModelError(
                f"{folder} does not contain a sentence encoder ({error}); remove the folder and fetch it again"
            ) from error
        tokenizer.enable_truncation(_MAX_TOKENS)
        tokenizer.enable_padding()  # with the token 0, as in BERT's vocabularies
        return cls(tokenizer, network)

    def embed(self, sentences: Sequence[str]) -> Float32Array:
        """Return the embeddings of the sentences, in order: (N, 384) unit vectors. N may be 0."""
        import torch

        vectors = np.zeros((len(sentences), SENTENCE_DIM), np.float32)
        # Sorted by length to reduce padding; a sentence's vector does not depend on its neighbours.
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        with torch.inference_mode():
            for start in range(0, len(order), _BATCH_SENTENCES):
                rows = order[start : start + _BATCH_SENTENCES]
                tokens = self._tokenizer.encode_batch([sentences[row] for row in rows])
                is_token = torch.tensor([one.attention_mask for one in tokens])
                hidden = self._network(torch.tensor([one.ids for one in tokens]), is_token)
                mask = is_token.unsqueeze(-1)
                means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
                vectors[rows] = torch.nn.functional.normalize(means, dim=1).numpy()
        return vectors


class _Bert:
    """BERT's encoder, of a single segment.

    Source: Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, NAACL 2019.
    """

    def __init__(self, weights: "dict[str, torch.Tensor]", config: dict[str, Any]) -> None:
        self._weights = weights
        self._num_layers = int(config["num_hidden_layers"])
        self._num_heads = int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])

    def __call__(self, ids: "torch.Tensor", is_token: "torch.Tensor") -> "torch.Tensor":
        """Return the (N, T, D) hidden states of (N, T) token ids, whose padding `is_token` marks with 0."""
        words, positions, segments = (
            self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        hidden = self._normalized("embeddings", words[ids] + segments[0] + positions[: ids.shape[1]])
        mask = None if bool(is_token.all()) else is_token.bool()[:, None, None, :].expand(-1, -1, ids.shape[1], -1)
        for number in range(self._num_layers):
            hidden = self._layer(f"encoder.layer.{number}", hidden, mask)
        return hidden

    def _layer(self, name: str, hidden: "torch.Tensor", mask: "torch.Tensor | None") -> "torch.Tensor":
        from torch.nn.functional import gelu, scaled_dot_product_attention

        query, key, value = (
            self._linear(f"{name}.attention.self.{part}", hidden)
            .view(*hidden.shape[:2], self._num_heads, -1)
            .transpose(1, 2)
            for part in ("query", "key", "value")
        )
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(-2)
        attention = f"{name}.attention.output"
        hidden = self._normalized(attention, self._linear(f"{attention}.dense", attended) + hidden)
        inner = gelu(self._linear(f"{name}.intermediate.dense", hidden))
        return self._normalized(f"{name}.output", self._linear(f"{name}.output.dense", inner) + hidden)

    def _linear(self, name: str, hidden: "torch.Tensor") -> "torch.Tensor":
        from torch.nn.functional import linear

        return linear(hidden, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _normalized(self, name: str, hidden: "torch.Tensor") -> "torch.Tensor":
        from torch.nn.functional import layer_norm

        weight, bias = self._weights[f"{name}.LayerNorm.weight"], self._weights[f"{name}.LayerNorm.bias"]
        return layer_norm(hidden, weight.shape, weight, bias, self._epsilon)
