"""Embed sentences as unit vectors, using MiniLM with mean pooling.

The network is exported to ONNX once and stored in the model cache, so only the process that exports it imports torch
and transformers. Importing them takes longer than embedding a project's prompts.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of, sha256_of_file
from data_miner_dagster.domain.records import Float32Array
from data_miner_dagster.models.derived import derived_file
from data_miner_dagster.models.onnx_sessions import open_session

SENTENCE_DIM: Final = 384
GRAPH_VERSION: Final = 1
"""The version of the graph. Increment it when the same weights result in a different graph."""

_MAX_TOKENS: Final = 512  # the number of position embeddings; longer sentences are cut off
_TOKENIZER_FILE: Final = "tokenizer.json"
_WEIGHTS_FILE: Final = "model.safetensors"
_OPSET: Final = 17


class SentenceEncoder:
    """all-MiniLM-L6-v2 on the CPU, loaded from a folder in the format of `save_pretrained`."""

    def __init__(self, tokenizer: Any, session: Any) -> None:
        self._tokenizer = tokenizer
        self._session = session

    @classmethod
    def load(cls, folder: Path) -> "SentenceEncoder":
        """Read the tokenizer and the network from a folder. The first call writes the graph to the model cache.

        Raises:
            ModelError: the folder lacks the tokenizer or the network, or one of them cannot be read.
            OSError: the model cache cannot be written.
        """
        from tokenizers import Tokenizer

        with _reading(folder):
            fingerprint = fingerprint_of({"weights": sha256_of_file(folder / _WEIGHTS_FILE), "graph": GRAPH_VERSION})
            # Read as text, since the library reports a missing file with a bare Exception.
            tokenizer = Tokenizer.from_str((folder / _TOKENIZER_FILE).read_text(encoding="utf-8"))
        graph = derived_file("minilm.onnx", fingerprint, lambda target: _write_graph(folder, target))
        tokenizer.enable_truncation(_MAX_TOKENS)
        tokenizer.no_padding()
        return cls(tokenizer, open_session(graph))

    def embed(self, sentences: Sequence[str]) -> Float32Array:
        """Return the embeddings of the sentences, in order: (N, 384) unit vectors. N may be 0.

        Each sentence is embedded alone, so its vector does not depend on the others, not even in its last bit.
        """
        vectors = np.zeros((len(sentences), SENTENCE_DIM), np.float32)
        for row, sentence in enumerate(sentences):
            tokens = np.array([self._tokenizer.encode(sentence).ids], np.int64)
            vectors[row] = self._session.run(["vectors"], {"tokens": tokens})[0][0]
        return vectors


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Raise ModelError with the remedy if the `with` block raises an OSError or ValueError while it reads `folder`."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{folder} does not contain a sentence encoder ({reason}); remove the folder, and fetch it again with "
            "`data-miner models fetch --profile lite`"
        ) from error


def _write_graph(folder: Path, to: Path) -> None:
    """Export the network with mean pooling. The graph maps `tokens`, (N, T) int64, to `vectors`, (N, 384)."""
    import torch
    from transformers import AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with _reading(folder):
        network = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, attn_implementation="eager"
        )

    class Sentences(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            means = self.network(input_ids=tokens).last_hidden_state.mean(dim=1)
            return torch.nn.functional.normalize(means, dim=1)

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns that sizes become constants, but the sizes of `tokens` do not
        torch.onnx.export(
            Sentences().eval(),
            (torch.ones((2, 7), dtype=torch.int64),),
            str(to),
            input_names=["tokens"],
            output_names=["vectors"],
            dynamic_axes={"tokens": {0: "sentences", 1: "length"}, "vectors": {0: "sentences"}},
            opset_version=_OPSET,
            dynamo=False,
        )
