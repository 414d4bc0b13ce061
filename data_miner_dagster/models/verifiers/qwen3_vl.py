"""Qwen3-VL, a vision-language model, through transformers. It answers a prompt about an image, with greedy decoding.

Source: Qwen3-VL technical report (Bai et al. 2025), and `Qwen3VLForConditionalGeneration` in transformers.
"""

from collections.abc import Sequence
from typing import Any, Final

from data_miner_dagster.domain.records import RgbImage
from data_miner_dagster.models.batching import run_in_halves
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.hub import hub_errors, pretrained_location
from data_miner_dagster.models.registry import ModelEntry

MAX_NEW_TOKENS: Final = 120
"""The maximum number of tokens of an answer. An answer in the requested format has about forty tokens."""


class Qwen3VlVerifier:
    """Implements `CropVerifier`. Prompts are padded on the left, so a batch's answers begin at the same position."""

    def __init__(self, network: Any, processor: Any, *, name: str, fingerprint: str, device: str) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.device = device
        self.network = network.eval().to(device)
        self.processor = processor
        processor.tokenizer.padding_side = "left"

    def answer(self, pictures: Sequence[RgbImage], prompts: Sequence[str]) -> list[str]:
        """Return the answer to each prompt about its picture, in order. If a batch needs too much memory, it is halved.

        An answer is cut off after `MAX_NEW_TOKENS` tokens.

        Raises:
            ModelError: there is too little memory for a single picture.
        """
        return run_in_halves(self._answer_together, list(zip(pictures, prompts, strict=True)), model=self.name)

    def _answer_together(self, batch: Sequence[tuple[RgbImage, str]]) -> list[str]:
        import torch
        from PIL import Image

        if not batch:
            return []
        conversations = [
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "image": Image.fromarray(rgb)},
                        {"type": "text", "text": prompt},
                    ],
                }
            ]
            for rgb, prompt in batch
        ]
        inputs = self.processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self.device)
        with torch.inference_mode():
            made = self.network.generate(
                **inputs,
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
            )
        texts: list[str] = self.processor.batch_decode(
            made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts


def load(entry: ModelEntry, device: str) -> Qwen3VlVerifier:
    """Load the model from the hub's cache, the hub or a folder.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the model cannot be loaded or does not match its entry.
    """
    import torch
    from transformers import AutoProcessor, Qwen3VLForConditionalGeneration

    location, revision = pretrained_location(entry)
    found = resolve_device(device)
    dtype = torch.bfloat16 if found.startswith("cuda") else torch.float32
    with hub_errors(entry):
        network = Qwen3VLForConditionalGeneration.from_pretrained(
            location, revision=revision, use_safetensors=True, dtype=dtype
        )
        processor = AutoProcessor.from_pretrained(location, revision=revision, trust_remote_code=False)
    return Qwen3VlVerifier(network, processor, name=entry.name, fingerprint=entry.fingerprint, device=found)
