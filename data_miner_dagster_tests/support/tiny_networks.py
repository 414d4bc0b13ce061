"""Tiny random networks of the real architectures, saved like checkpoints on the hub, including a tokenizer."""

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from data_miner_dagster.config.models import ModelEntryConfig, ModelsConfig

WORDS = ("<pad>", "<unk>", "<s>", "</s>", "a", "photo", "of", "cat", "dog", "the", "red", "bus")
IMAGE_TEXT_ARCHITECTURES = ("siglip", "siglip2", "clip", "metaclip2", "tipsv2")
ARCHITECTURES = (*IMAGE_TEXT_ARCHITECTURES, "dinov2", "dinov3")

_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}


def _tokenizer(folder: Path) -> None:
    """Save a tokenizer whose defaults suit none of the encoders: it adds both special tokens and pads on the left."""
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        padding_side="left",
    ).save_pretrained(folder)


def save_tiny(architecture: str, folder: Path) -> Path:
    """Save a network of an architecture, with its processor and tokenizer, and return the folder."""
    torch.manual_seed(7)
    square = {"height": 32, "width": 32}
    if architecture in ("siglip", "siglip2"):
        text = {**_TEXT, "max_position_embeddings": 64, "projection_size": 32}
        transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=_VISION)).save_pretrained(
            folder
        )
        transformers.SiglipImageProcessor(size=square, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(
            folder
        )
        _tokenizer(folder)
    elif architecture in ("clip", "metaclip2"):
        configs = {"text_config": {**_TEXT, "max_position_embeddings": 16}, "vision_config": _VISION}
        if architecture == "clip":
            transformers.CLIPModel(transformers.CLIPConfig(**configs, projection_dim=24)).save_pretrained(folder)
        else:
            transformers.MetaClip2Model(transformers.MetaClip2Config(**configs, projection_dim=24)).save_pretrained(
                folder
            )
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
        _tokenizer(folder)
    elif architecture == "tipsv2":
        text = {**_TEXT, "max_position_embeddings": 64}
        vision = {key: value for key, value in _VISION.items() if key != "intermediate_size"}
        config = transformers.Tipsv2Config(text_config=text, vision_config={**vision, "mlp_ratio": 2})
        transformers.Tipsv2Model(config).save_pretrained(folder)
        transformers.Tipsv2ImageProcessor(size=square).save_pretrained(folder)
        _tokenizer(folder)
    elif architecture == "dinov2":
        vision = {key: value for key, value in _VISION.items() if key != "intermediate_size"}
        transformers.Dinov2Model(transformers.Dinov2Config(**vision, mlp_ratio=2)).save_pretrained(folder)
        # As in DINOv2's own checkpoints, images are resized to a bit more and cropped (BitImageProcessor's settings).
        transformers.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size=square).save_pretrained(folder)
    elif architecture == "dinov3":
        transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**_VISION, num_register_tokens=2)).save_pretrained(
            folder
        )
        transformers.DINOv3ViTImageProcessor(size=square).save_pretrained(folder)
    else:
        raise ValueError(architecture)
    return folder


def tiny_config(architecture: str, folder: Path, **options: str) -> ModelsConfig:
    """Return a configuration in which both encoders are the saved network, registered as `tiny`, on the CPU."""
    entry = ModelEntryConfig(architecture=architecture, source=f"file:{folder}", options=options)
    return ModelsConfig(registry={"tiny": entry}, filter_encoder="tiny", dedup_encoder="tiny", device="cpu")
