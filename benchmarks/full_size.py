"""Build detectors at full size with random weights, which do the real arithmetic without a download.

Belongs here: the composition of each published network, and its source. Does not belong here: the measurements
(detection.py). With random weights the boxes are meaningless, and so is their number.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from data_miner_dagster.domain.fingerprints import sha256_of_file
from data_miner_dagster.models.detectors.ultralytics_detector import import_yolo
from data_miner_dagster.models.vocabulary import COCO_CLASS_NAMES
from data_miner_dagster_tests.support.tiny_detectors import (
    save_bert_tokenizer,
    save_clip_tokenizer,
    save_scripted_text,
)

Entry = dict[str, Any]
"""An entry of `platform.models.registry`."""

_COCO: Final = dict(enumerate(COCO_CLASS_NAMES))
_SQUARE_640: Final = {"height": 640, "width": 640}


def _saved(architecture: str, folder: Path, *parts: Any) -> Entry:
    for part in parts:
        part.save_pretrained(folder)
    return {"architecture": architecture, "source": f"file:{folder}"}


def _grounding_dino(folder: Path, *, kind: str, architecture: str, size: str) -> Entry:
    """Write a Grounding DINO with random weights. LLMDet is an MM-Grounding-DINO of the same size.

    Source: config.json of IDEA-Research/grounding-dino-base; for the others `get_mm_grounding_dino_config` in
    transformers' convert_mm_grounding_dino_to_hf.py.
    """
    embed_dim, depth, heads, window, image, first = {
        "tiny": (96, 6, 3, 7, 224, 2),
        "base": (128, 18, 4, 12, 384, 2),
        "large": (192, 18, 6, 12, 384, 1),
    }[size]
    backbone = transformers.SwinConfig(
        image_size=image,
        embed_dim=embed_dim,
        depths=[2, 2, depth, 2],
        num_heads=[heads, 2 * heads, 4 * heads, 8 * heads],
        window_size=window,
        out_indices=list(range(first, 5)),
    )
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone, num_feature_levels=6 - first, disable_custom_kernels=True
    )
    network = getattr(transformers, f"{kind}ForObjectDetection")(config)
    save_bert_tokenizer(folder)
    return _saved(architecture, folder, network, transformers.GroundingDinoImageProcessor())


def _owlv2(folder: Path) -> Entry:
    """Write an OWLv2 with random weights. Source: config.json of google/owlv2-base-patch16-ensemble."""
    config = transformers.Owlv2Config(
        text_config={"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8},
        vision_config={"hidden_size": 768, "image_size": 960, "patch_size": 16},
        projection_dim=512,
    )
    save_clip_tokenizer(folder, 16)
    return _saved("owlv2", folder, transformers.Owlv2ForObjectDetection(config), transformers.Owlv2ImageProcessor())


def _sam3(folder: Path) -> Entry:
    """Write a SAM 3 with random weights. Source: the defaults of transformers' Sam3Config, those of facebook/sam3."""
    save_clip_tokenizer(folder, 32)
    network = transformers.Sam3Model(transformers.Sam3Config())
    return _saved("sam3", folder, network, transformers.Sam3ImageProcessor())


def _rt_detr_v2(folder: Path) -> Entry:
    """Write an RT-DETRv2 with random weights.

    Source: the defaults of transformers' RTDetrV2Config, which are those of PekingU/rtdetr_v2_r50vd.
    """
    network = transformers.RTDetrV2ForObjectDetection(transformers.RTDetrV2Config(id2label=_COCO))
    return _saved("rt-detr-v2", folder, network, transformers.RTDetrImageProcessor(size=_SQUARE_640))


def _d_fine(folder: Path) -> Entry:
    """Write a D-FINE with random weights.

    Source: `dfine_l_coco` in transformers' convert_d_fine_original_pytorch_checkpoint_to_hf.py.
    """
    config = transformers.DFineConfig(
        id2label=_COCO, encoder_in_channels=[512, 1024, 2048], decoder_n_points=[3, 6, 3], num_denoising=0
    )
    network = transformers.DFineForObjectDetection(config)
    return _saved("d-fine", folder, network, transformers.RTDetrImageProcessor(size=_SQUARE_640, do_normalize=False))


def _deimv2(folder: Path) -> Entry:
    """Write a DEIMv2-M with random weights.

    The published depth and width of its neck could not be looked up. With the values below, the network has 18.9
    million parameters; the published one has 18.1 million.

    Source: DINOV3_PRESETS in transformers' convert_deimv2_original_pytorch_checkpoint_to_hf.py, and the sizes of
    DEIMv2-M.
    """
    backbone = transformers.DINOv3ViTConfig(
        hidden_size=256,
        num_attention_heads=4,
        num_hidden_layers=12,
        intermediate_size=1024,
        pos_embed_rescale=None,
        out_indices=[4, 8, 12],
        apply_layernorm=False,
    )
    config = transformers.Deimv2Config(
        backbone_config=backbone,
        id2label=_COCO,
        encoder_in_channels=[256, 256, 256],
        depth_mult=0.67,
        hidden_expansion=0.67,
        decoder_layers=4,
        decoder_n_points=[3, 6, 3],
        encoder_has_trailing_conv=False,
        num_denoising=0,
    )
    network = transformers.Deimv2ForObjectDetection(config)
    return _saved("deimv2", folder, network, transformers.RTDetrImageProcessor(size=_SQUARE_640))


def _rf_detr(folder: Path) -> Entry:
    """Write an RF-DETR with random weights. Source: `medium` in transformers' convert_rf_detr_to_hf.py."""
    backbone = transformers.RfDetrDinov2Config(
        hidden_size=384,
        num_attention_heads=6,
        image_size=576,
        patch_size=16,
        num_windows=2,
        out_features=["stage3", "stage6", "stage9", "stage12"],
    )
    config = transformers.RfDetrConfig(
        backbone_config=backbone, num_labels=91, decoder_layers=4, decoder_n_points=2, num_queries=300
    )
    config.id2label = {index: COCO_CLASS_NAMES[index - 1] if 0 < index <= 80 else "N/A" for index in range(91)}
    network = transformers.RfDetrForObjectDetection(config)
    processor = transformers.RfDetrImageProcessor(size={"height": 576, "width": 576})
    return _saved("rf-detr", folder, network, processor)


def _yoloe(folder: Path) -> Entry:
    """Write a YOLOE with random weights. Its text encoder is a substitute, which runs once per class list.

    Source: Ultralytics' own yoloe-26s-seg.yaml.
    """
    yolo = import_yolo()("yoloe-26s-seg.yaml", verbose=False)
    yolo.ckpt = {"train_args": {"imgsz": 640}}
    save_scripted_text(folder, file_name="mobileclip2_b.ts")
    path = folder / "yoloe-26s-seg.pt"
    yolo.save(path)
    options = {
        "sha256": sha256_of_file(path),
        "text_model": f"file:{folder}",
        "text_sha256": sha256_of_file(folder / "mobileclip2_b.ts"),
    }
    return {"architecture": "ultralytics", "source": f"ultralytics:{path}", "options": options}


_mm_grounding_dino: Final = partial(_grounding_dino, kind="MMGroundingDino", architecture="mm-grounding-dino")
FULL_SIZE: Final[Mapping[str, Callable[[Path], Entry]]] = {
    "grounding-dino-base": partial(_grounding_dino, kind="GroundingDino", architecture="grounding-dino", size="base"),
    "llmdet-tiny": partial(_mm_grounding_dino, size="tiny"),
    "llmdet-large": partial(_mm_grounding_dino, size="large"),
    "owlv2-base": _owlv2,
    "sam3": _sam3,
    "rt-detr-v2-r50": _rt_detr_v2,
    "d-fine-large": _d_fine,
    "deimv2-m": _deimv2,
    "rf-detr-medium": _rf_detr,
    "yoloe-26s": _yoloe,
}
"""Functions that write the networks, by name. OmDet-Turbo is missing, because its published backbone is timm's."""


def save_full_size(name: str, folder: Path) -> Entry:
    """Write a network with random weights, and return its registry entry."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    return FULL_SIZE[name](folder)
