"""Encoders of the Hugging Face hub: SigLIP 2, SigLIP, CLIP (image and text), DINOv2 and DINOv3 (image).

Belongs here: loading through `from_pretrained`, tokenising, pooling, unit length. Does not belong here: where the
files are (hub.py), resizing (pixels.py).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.hub import hub_errors, pretrained_location
from data_miner_dagster.models.pixels import PixelPreparation
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch

SIGLIP_TEXT_LENGTH: Final = 64
"""SigLIP was trained on prompts padded to this length, without a mask: padded otherwise, its rankings invert."""
_BATCH_PROMPTS: Final = 64
POOLINGS: Final = ("pooler", "cls", "mean")


class _HubImageEncoder:
    """What all of them share. Subclasses say how pixels become one vector each."""

    def __init__(self, entry: ModelEntry, network: Any, preparation: PixelPreparation, device: str) -> None:
        self.name = entry.name
        self.fingerprint = entry.fingerprint
        self.calibration = entry.thresholds
        self.input_side = max(preparation.output_wh)
        self.preprocess_pixels = preparation
        self._device = device
        self._dtype = network.dtype
        self._network = network
        self.embedding_dim = 0  # known by subclasses

    def preprocess(self, image: RgbImage) -> npt.NDArray[np.uint8]:
        """Return (H, W, 3) uint8 of the network's input size."""
        return self.preprocess_pixels(image)

    def embed_batch(self, batch: npt.NDArray[np.uint8]) -> Float32Array:
        """Return (N, embedding_dim) unit vectors."""
        import torch

        if not len(batch):
            return np.zeros((0, self.embedding_dim), np.float32)
        with torch.inference_mode():
            pixels = self.preprocess_pixels.normalised(batch, self._device, self._dtype)
            return _unit_vectors(self._pooled(pixels))

    def _pooled(self, pixels: "torch.Tensor") -> "torch.Tensor":
        raise NotImplementedError


class DinoEncoder(_HubImageEncoder):
    """Implements ImageEncoder with DINOv2 or DINOv3.

    The entry's option `pooling` is `pooler` (default: the normalised class token), `cls` (the class token of the last
    layer) or `mean` (of the patches).
    """

    def __init__(self, entry: ModelEntry, network: Any, preparation: PixelPreparation, device: str) -> None:
        super().__init__(entry, network, preparation, device)
        self.embedding_dim = int(network.config.hidden_size)
        self._pooling = entry.options.get("pooling", "pooler")
        if self._pooling not in POOLINGS:
            raise ModelError(f"model {entry.name}: pooling {self._pooling!r} is none of {', '.join(POOLINGS)}")
        self._first_patch = 1 + int(getattr(network.config, "num_register_tokens", 0))

    def _pooled(self, pixels: "torch.Tensor") -> "torch.Tensor":
        outputs = self._network(pixel_values=pixels)
        pooled: torch.Tensor = outputs.pooler_output
        if self._pooling == "cls":
            pooled = outputs.last_hidden_state[:, 0]
        elif self._pooling == "mean":
            pooled = outputs.last_hidden_state[:, self._first_patch :].mean(dim=1)
        return pooled


class _HubImageTextEncoder(_HubImageEncoder):
    def __init__(
        self, entry: ModelEntry, network: Any, preparation: PixelPreparation, tokenizer: Any, device: str
    ) -> None:
        super().__init__(entry, network, preparation, device)
        self._tokenizer = tokenizer

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        """Return (P, embedding_dim) unit vectors."""
        import torch

        vectors = [np.zeros((0, self.embedding_dim), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(prompts), _BATCH_PROMPTS):
                tokens = self._tokenize(list(prompts[start : start + _BATCH_PROMPTS]))
                outputs = self._network.get_text_features(**{key: ids.to(self._device) for key, ids in tokens.items()})
                vectors.append(_unit_vectors(_features(outputs)))
        return np.concatenate(vectors)

    def _pooled(self, pixels: "torch.Tensor") -> "torch.Tensor":
        return _features(self._network.get_image_features(pixel_values=pixels))

    def _tokenize(self, prompts: list[str]) -> "dict[str, torch.Tensor]":
        raise NotImplementedError


class SiglipEncoder(_HubImageTextEncoder):
    """Implements ImageTextEncoder with SigLIP, or with a SigLIP 2 of fixed resolution."""

    def __init__(
        self, entry: ModelEntry, network: Any, preparation: PixelPreparation, tokenizer: Any, device: str
    ) -> None:
        super().__init__(entry, network, preparation, tokenizer, device)
        self.embedding_dim = int(network.config.vision_config.hidden_size)

    def _tokenize(self, prompts: list[str]) -> "dict[str, torch.Tensor]":
        tokens = self._tokenizer(
            [prompt.lower() for prompt in prompts],  # both were trained on lower case
            padding="max_length",
            max_length=SIGLIP_TEXT_LENGTH,
            truncation=True,
            return_tensors="pt",
        )
        return {"input_ids": tokens["input_ids"]}


class ClipEncoder(_HubImageTextEncoder):
    """Implements ImageTextEncoder with CLIP."""

    def __init__(
        self, entry: ModelEntry, network: Any, preparation: PixelPreparation, tokenizer: Any, device: str
    ) -> None:
        super().__init__(entry, network, preparation, tokenizer, device)
        self.embedding_dim = int(network.config.projection_dim)
        self._max_tokens = int(network.config.text_config.max_position_embeddings)

    def _tokenize(self, prompts: list[str]) -> "dict[str, torch.Tensor]":
        tokens = self._tokenizer(
            prompts, padding=True, max_length=self._max_tokens, truncation=True, return_tensors="pt"
        )
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}


def load_siglip(entry: ModelEntry, device: str) -> SiglipEncoder:
    """Load a SigLIP or SigLIP 2 checkpoint.

    Raises:
        ModelError: it cannot be had, or is of another architecture.
    """
    network, preparation, device = _load_vision(entry, device, model_types=("siglip",))
    return SiglipEncoder(entry, network, preparation, _load_tokenizer(entry), device)


def load_clip(entry: ModelEntry, device: str) -> ClipEncoder:
    """Load a CLIP checkpoint.

    Raises:
        ModelError: it cannot be had, or is of another architecture.
    """
    network, preparation, device = _load_vision(entry, device, model_types=("clip",))
    return ClipEncoder(entry, network, preparation, _load_tokenizer(entry), device)


def load_dino(entry: ModelEntry, device: str) -> DinoEncoder:
    """Load a DINOv2 or DINOv3 checkpoint.

    Raises:
        ModelError: it cannot be had, or is of another architecture.
    """
    types = ("dinov2", "dinov2_with_registers", "dinov3_vit")
    network, preparation, device = _load_vision(entry, device, model_types=types)
    return DinoEncoder(entry, network, preparation, device)


def _load_vision(entry: ModelEntry, device: str, *, model_types: tuple[str, ...]) -> tuple[Any, PixelPreparation, str]:
    import torch
    from transformers import AutoConfig, AutoImageProcessor, AutoModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    device = resolve_device(device)
    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        model_type = AutoConfig.from_pretrained(location, revision=revision).model_type
        if model_type not in model_types:
            known = " or ".join(model_types)
            raise ModelError(f"model {entry.name} ({entry.source}) is of type {model_type!r}, not {known}")
        network = AutoModel.from_pretrained(
            location,
            revision=revision,
            use_safetensors=True,
            dtype=torch.bfloat16 if device.startswith("cuda") else torch.float32,
            attn_implementation="sdpa",
        )
        processor = AutoImageProcessor.from_pretrained(location, revision=revision)
    return network.eval().to(device), PixelPreparation.of_processor(processor), device


def _load_tokenizer(entry: ModelEntry) -> Any:
    from transformers import AutoTokenizer

    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        return AutoTokenizer.from_pretrained(location, revision=revision)


def _features(outputs: Any) -> "torch.Tensor":
    """Return the vectors of `get_*_features`: transformers 5 wraps them, 4 returned them bare."""
    features: torch.Tensor = getattr(outputs, "pooler_output", outputs)
    return features


def _unit_vectors(vectors: "torch.Tensor") -> Float32Array:
    import torch

    units: Float32Array = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
    return units
