"""Encoders from the hub: SigLIP 2, SigLIP, CLIP, MetaCLIP 2, TIPSv2 (image and text), DINOv2 and DINOv3 (image).

Belongs here: loading through `from_pretrained`, pooling, normalizing to unit length. Does not belong here: the location
of files (hub.py), tokenizing and how a family was trained (recipes.py), resizing (pixels.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.domain.fingerprints import fingerprint_of
from data_miner_dagster.domain.records import Float32Array, RgbImage
from data_miner_dagster.models.derived import derived_file
from data_miner_dagster.models.devices import resolve_device
from data_miner_dagster.models.encoders.cpu_graphs import GRAPH_VERSION, ForwardPass, open_graph, write_graph
from data_miner_dagster.models.encoders.pixels import PixelPreparation, on_device
from data_miner_dagster.models.encoders.recipes import (
    CLIP_IMAGE,
    CLIP_TEXT,
    METACLIP2_IMAGE,
    METACLIP2_TEXT,
    SIGLIP2_IMAGE,
    SIGLIP2_TEXT,
    SIGLIP_IMAGE,
    SIGLIP_TEXT,
    TIPSV2_IMAGE,
    TIPSV2_TEXT,
    ImageRecipe,
    PromptTokenizer,
    TextRecipe,
)
from data_miner_dagster.models.hub import configuration_location, hub_errors, pretrained_location
from data_miner_dagster.models.registry import ModelEntry

if TYPE_CHECKING:
    import torch

_BATCH_PROMPTS: Final = 64
POOLINGS: Final = ("pooler", "cls", "mean")
_NAFLEX: Final = "siglip2"
"""The model type of variable-resolution SigLIP 2. The fixed-resolution checkpoints have the model type `siglip`."""


Pool: TypeAlias = "Callable[[Any, torch.Tensor], torch.Tensor]"
"""Maps a network and (N, 3, H, W) normalized pixels to (N, D) vectors of any length."""
Tokenize: TypeAlias = "Callable[[Sequence[str]], dict[str, torch.Tensor]]"
"""Maps prompts to the keyword arguments of the text tower."""


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A checkpoint whose configuration has been read, but whose weights have not."""

    entry: ModelEntry
    config: Any  # transformers' configuration
    preparation: PixelPreparation
    device: str

    @property
    def graph_fingerprint(self) -> str:
        """The fingerprint of everything that affects the forward pass, such as the commit of an unpinned checkpoint."""
        commit = getattr(self.config, "_commit_hash", None)
        return fingerprint_of({"weights": self.entry.fingerprint, "commit": commit, "graph": GRAPH_VERSION})

    def load_network(self) -> Any:
        """Load the network, in evaluation mode, onto the device.

        Raises:
            ModelError: the weights cannot be loaded or are damaged.
        """
        import torch
        from transformers import AutoModel

        location, revision = pretrained_location(self.entry)
        with hub_errors(self.entry):
            network = AutoModel.from_pretrained(
                location,
                revision=revision,
                use_safetensors=True,
                dtype=torch.bfloat16 if self.device.startswith("cuda") else torch.float32,
                attn_implementation="sdpa",
                trust_remote_code=False,  # the default asks at the terminal whether to run a folder's code
            )
        return network.eval().to(self.device)


class HubImageEncoder:
    """Implements ImageEncoder with a network and a pooling that yields one vector per image."""

    def __init__(self, checkpoint: _Checkpoint, *, embedding_dim: int, pool: Pool) -> None:
        self.embedding_dim = embedding_dim
        self.name = checkpoint.entry.name
        self.fingerprint = checkpoint.entry.fingerprint
        self.calibration = checkpoint.entry.thresholds
        self.input_side = max(checkpoint.preparation.output_wh)
        self._checkpoint = checkpoint
        self._pool = pool
        uses_graph = checkpoint.device == "cpu" and checkpoint.entry.cpu_backend != "torch"
        self._forward = self._open_graph() if uses_graph else self._open_network()

    @property
    def device(self) -> str:
        """The device on which the network runs."""
        return self._checkpoint.device

    @cached_property
    def _network(self) -> Any:
        return self._checkpoint.load_network()

    def preprocess(self, image: RgbImage) -> npt.NDArray[np.uint8]:
        """Return the image as (H, W, 3) uint8 in the network's input size."""
        return self._checkpoint.preparation(image)

    def embed_batch(self, batch: npt.NDArray[np.uint8]) -> Float32Array:
        """Return the images' embeddings: (N, embedding_dim) unit vectors."""
        return self._forward(batch) if len(batch) else np.zeros((0, self.embedding_dim), np.float32)

    def _open_network(self) -> ForwardPass:
        import torch

        network, device = self._network, self._checkpoint.device

        def run(batch: npt.NDArray[np.uint8]) -> Float32Array:
            with torch.inference_mode():
                vectors: Float32Array = self._vectors(network, on_device(batch, device)).cpu().numpy()
                return vectors

        return run

    def _open_graph(self) -> ForwardPass:
        checkpoint = self._checkpoint

        def write(to: Path) -> None:
            network = checkpoint.load_network()  # not kept in memory: images need only the graph
            write_graph(network, partial(self._vectors, network), checkpoint.preparation.output_wh, to, model=self.name)

        graph = derived_file(f"{checkpoint.entry.architecture}.onnx", checkpoint.graph_fingerprint, write)
        return open_graph(checkpoint.entry.cpu_backend, graph)

    def _vectors(self, network: Any, images: "torch.Tensor") -> "torch.Tensor":
        """Return the (N, D) unit vectors of (N, H, W, 3) uint8 images."""
        return _unit(self._pool(network, self._checkpoint.preparation.normalized(images, network.dtype)))


class HubImageTextEncoder(HubImageEncoder):
    """Implements ImageTextEncoder with a two-tower network."""

    def __init__(self, checkpoint: _Checkpoint, *, embedding_dim: int, tokenize: Tokenize) -> None:
        super().__init__(checkpoint, embedding_dim=embedding_dim, pool=_image_features)
        self._tokenize = tokenize

    def embed_texts(self, prompts: Sequence[str]) -> Float32Array:
        """Return the prompts' embeddings: (P, embedding_dim) unit vectors.

        Words of a prompt beyond the network's maximum length are ignored.
        """
        import torch

        device = self._checkpoint.device
        vectors = [np.zeros((0, self.embedding_dim), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(prompts), _BATCH_PROMPTS):
                tokens = self._tokenize(prompts[start : start + _BATCH_PROMPTS])
                outputs = self._network.get_text_features(**{key: ids.to(device) for key, ids in tokens.items()})
                vectors.append(_unit(_features(outputs)).cpu().numpy())
        return np.concatenate(vectors)


def _image_features(network: Any, pixels: "torch.Tensor") -> "torch.Tensor":
    return _features(network.get_image_features(pixel_values=pixels))


@dataclass(frozen=True, slots=True)
class _Family:
    """The properties of a two-tower family that the loader needs."""

    model_type: str  # in the configuration of its checkpoints
    text: TextRecipe
    image: ImageRecipe
    embedding_dim: Callable[[Any], int]  # from transformers' configuration


def _projected(config: Any) -> int:
    return int(config.projection_dim)


def _as_wide_as_the_image_tower(config: Any) -> int:
    return int(config.vision_config.hidden_size)


_FAMILIES: Final[Mapping[str, _Family]] = {
    "siglip": _Family("siglip", SIGLIP_TEXT, SIGLIP_IMAGE, _as_wide_as_the_image_tower),
    "siglip2": _Family("siglip", SIGLIP2_TEXT, SIGLIP2_IMAGE, _as_wide_as_the_image_tower),
    "clip": _Family("clip", CLIP_TEXT, CLIP_IMAGE, _projected),
    "metaclip2": _Family("metaclip_2", METACLIP2_TEXT, METACLIP2_IMAGE, _projected),
    "tipsv2": _Family("tipsv2", TIPSV2_TEXT, TIPSV2_IMAGE, _as_wide_as_the_image_tower),
}


def load_image_text(entry: ModelEntry, device: str) -> HubImageTextEncoder:
    """Load a checkpoint of SigLIP, fixed-resolution SigLIP 2, CLIP, MetaCLIP 2 or TIPSv2.

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded, has another architecture or has unsupported image settings, its
            tokenizer does not match its network, or the CPU backend is not installed or cannot run the network.
        OSError: the model cache, which stores the graph for a CPU backend, cannot be written.
    """
    family = _FAMILIES[entry.architecture]
    checkpoint = _open_checkpoint(entry, device, model_types=(family.model_type,), image=family.image)
    text_config = checkpoint.config.text_config
    tokenize = PromptTokenizer(
        family.text, _load_tokenizer(entry), int(text_config.max_position_embeddings), entry.name
    )
    if family.model_type == "metaclip_2" and tokenize.last != text_config.eos_token_id:
        # The network reads a text's vector at the first such token. Without one, it would read it at the first token.
        raise ModelError(
            f"model {entry.name} ({entry.source}): the tokenizer ends a text with token {tokenize.last}, but the "
            f"network expects {text_config.eos_token_id}; use the model's own tokenizer files"
        )
    return HubImageTextEncoder(checkpoint, embedding_dim=family.embedding_dim(checkpoint.config), tokenize=tokenize)


def load_dino(entry: ModelEntry, device: str) -> HubImageEncoder:
    """Load a DINOv2 or DINOv3 checkpoint.

    The entry's option `pooling` is `pooler` (the normalized class token, the default), `cls` (the class token of the
    last layer) or `mean` (the mean over the patches of the last layer).

    Raises:
        ConfigError: this machine does not have the requested device.
        ModelError: the checkpoint cannot be loaded, has another architecture or has unsupported image settings, the
            pooling is unknown, or the CPU backend is not installed or cannot run the network.
        OSError: the model cache, which stores the graph for a CPU backend, cannot be written.
    """
    types = ("dinov2", "dinov2_with_registers", "dinov3_vit")
    checkpoint = _open_checkpoint(entry, device, model_types=types)
    pooling = entry.options.get("pooling", "pooler")
    if pooling not in POOLINGS:
        raise ModelError(
            f"model {entry.name}: the option `pooling: {pooling}` is not supported; use one of {', '.join(POOLINGS)}"
        )
    first_patch = 1 + int(getattr(checkpoint.config, "num_register_tokens", 0))

    def pool(network: Any, pixels: "torch.Tensor") -> "torch.Tensor":
        outputs = network(pixel_values=pixels)
        pooled: torch.Tensor = outputs.pooler_output
        if pooling == "cls":
            pooled = outputs.last_hidden_state[:, 0]
        elif pooling == "mean":
            pooled = outputs.last_hidden_state[:, first_patch:].mean(dim=1)
        return pooled

    return HubImageEncoder(checkpoint, embedding_dim=int(checkpoint.config.hidden_size), pool=pool)


def _open_checkpoint(
    entry: ModelEntry, device: str, *, model_types: tuple[str, ...], image: ImageRecipe | None = None
) -> _Checkpoint:
    from transformers import AutoConfig
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()

    device = resolve_device(device)
    location, revision = configuration_location(entry)
    with hub_errors(entry):
        config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
        if config.model_type == _NAFLEX:
            raise ModelError(
                f"model {entry.name} ({entry.source}) is a NaFlex checkpoint, which has no fixed resolution; "
                "use a fixed-resolution SigLIP 2 checkpoint, such as google/siglip2-so400m-patch14-384"
            )
        if config.model_type not in model_types:
            known = " or ".join(model_types)
            raise ModelError(
                f"model {entry.name} ({entry.source}) is of type {config.model_type!r} instead of {known}; "
                f"choose another checkpoint, or correct `platform.models.registry.{entry.name}.architecture`"
            )
    return _Checkpoint(entry, config, _pixel_preparation(entry, config, image), device)


def _pixel_preparation(entry: ModelEntry, config: Any, image: ImageRecipe | None) -> PixelPreparation:
    from transformers import AutoImageProcessor
    from transformers.image_processing_base import ImageProcessingMixin

    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        if image is None:
            processor = AutoImageProcessor.from_pretrained(location, revision=revision, trust_remote_code=False)
            return PixelPreparation.of_processor(processor, model=entry.name)
        stated, _ = ImageProcessingMixin.get_image_processor_dict(location, revision=revision)
    settings = image.completed(stated, int(config.vision_config.image_size))
    return PixelPreparation.of_settings(settings, is_stretched=image.is_stretched, model=entry.name)


def _load_tokenizer(entry: ModelEntry) -> Any:
    from transformers import AutoTokenizer

    location, revision = pretrained_location(entry)
    with hub_errors(entry):
        return AutoTokenizer.from_pretrained(location, revision=revision, trust_remote_code=False)


def _features(outputs: Any) -> "torch.Tensor":
    """Return the vectors that `get_*_features` returned. transformers 5 wraps them in an object, unlike version 4."""
    features: torch.Tensor = getattr(outputs, "pooler_output", outputs)
    return features


def _unit(vectors: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.nn.functional.normalize(vectors.float(), dim=-1)
