"""Random networks of the real detector classes, a fraction of a megabyte each, saved like checkpoints on the hub."""

import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WORDS = ("a", "red", "car", "taxi", "bus", "person", "detect", "riding", "bike", ",")


def save_bert_tokenizer(folder: Path) -> None:
    """Write a word-level BERT tokenizer whose special tokens have BERT's own ids, which GroundingDINO relies on."""
    words = [f"[unused{index}]" for index in range(1100)]
    for index, word in ((0, "[PAD]"), (100, "[UNK]"), (101, "[CLS]"), (102, "[SEP]"), (1012, "."), (1029, "?")):
        words[index] = word
    for index, word in enumerate(WORDS):
        words[1031 + index] = word
    for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        words[1050 + index] = f"##{letter}"
    words[1080] = "g"
    tokenizer = transformers.BertTokenizer(vocab={word: index for index, word in enumerate(words)}, do_lower_case=True)
    tokenizer.save_pretrained(folder)


def save_clip_tokenizer(folder: Path, model_max_length: int) -> None:
    """Write a word-level tokenizer that begins and ends texts with the same kinds of tokens as CLIP's."""
    special = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|unk|>"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS, "."])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[("<|startoftext|>", 1), ("<|endoftext|>", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        model_max_length=model_max_length,
    ).save_pretrained(folder)


def tiny_swin() -> Any:
    """Return the configuration of a Swin backbone with small stages, of which the last three are used."""
    return transformers.SwinConfig(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=4,
        out_indices=[2, 3, 4],
    )


def save_grounding_dino(folder: Path, kind: str = "GroundingDino") -> Path:
    """Write a GroundingDINO (or `kind` MMGroundingDino) of the real Python classes, with 20 queries."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=tiny_swin(),
        text_config=transformers.BertConfig(
            vocab_size=1100, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
        ),
        d_model=64,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=20,
        disable_custom_kernels=True,
    )
    getattr(transformers, f"{kind}ForObjectDetection")(config).save_pretrained(folder)
    transformers.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)
    save_bert_tokenizer(folder)
    return folder


def save_owlv2(folder: Path) -> Path:
    """Write an OWLv2 of the real Python classes, with 4 x 4 patches."""
    torch.manual_seed(0)
    config = transformers.Owlv2Config(
        text_config={
            "vocab_size": 32,
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 16,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
        },
        projection_dim=16,
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    transformers.Owlv2ImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    save_clip_tokenizer(folder, 16)
    return folder


def save_omdet_turbo(folder: Path) -> Path:
    """Write an OmDet-Turbo of the real Python classes, with 20 queries."""
    torch.manual_seed(0)
    config = transformers.OmDetTurboConfig(
        text_config=transformers.CLIPTextConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=77,
            projection_dim=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        backbone_config=tiny_swin(),
        image_size=64,
        # Without timm, the backbone's feature maps have their channels first and are already normalized.
        apply_layernorm_after_vision_backbone=False,
        text_projection_in_dim=16,
        text_projection_out_dim=16,
        task_encoder_hidden_dim=16,
        class_embed_dim=16,
        num_queries=20,
        encoder_hidden_dim=32,
        decoder_hidden_dim=32,
        vision_features_channels=[32, 32, 32],
        encoder_in_channels=[16, 32, 64],
        encoder_attention_heads=2,
        encoder_dim_feedforward=16,
        decoder_num_heads=2,
        decoder_num_layers=1,
        decoder_dim_feedforward=16,
        disable_custom_kernels=True,
    )
    transformers.OmDetTurboForObjectDetection(config).save_pretrained(folder)
    transformers.DetrImageProcessor(size={"height": 64, "width": 64}, do_pad=False).save_pretrained(folder)
    save_clip_tokenizer(folder, 77)
    return folder


def save_byte_tokenizer(folder: Path) -> None:
    """Write CLIP's own tokenizer without merges: each letter is a token, which ends in `</w>` at the end of a word."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)


def save_clip_text(folder: Path) -> Path:
    """Write the text encoder of a CLIP of the real Python class, with as many dimensions as ViT-B/32's."""
    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=514,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=512,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    network = transformers.CLIPTextModelWithProjection(config)
    for parameter in network.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter)  # so that the vectors of different words have different directions
    network.save_pretrained(folder)
    save_byte_tokenizer(folder)
    return folder


class _SumOfTokens(torch.nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(514, dim, padding_idx=0)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.embedding(ids).sum(dim=1), dim=-1)


def save_scripted_text(folder: Path, *, file_name: str = "mobileclip_blt.ts", dim: int = 512) -> Path:
    """Write a text encoder in TorchScript, traced like MobileCLIP's: it turns (P, 77) ids into unit vectors."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        example = torch.zeros(2, 77, dtype=torch.int64)
        traced = torch.jit.trace(_SumOfTokens(dim).eval(), example)  # type: ignore[no-untyped-call]
        traced.save(folder / file_name)
    save_byte_tokenizer(folder)
    return folder


CLASS_NAMES = ("person", "car", "bus", "tvmonitor", "a_red_taxi")
"""The classes of the detectors with a closed vocabulary."""


def save_rt_detr(folder: Path, kind: str = "RTDetr") -> Path:
    """Write an RT-DETR (or `kind` RTDetrV2, DFine, Deimv2) of the real Python classes, with 40 queries."""
    torch.manual_seed(0)
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_indices=[2, 3, 4]
    )
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone,
        id2label=dict(enumerate(CLASS_NAMES)),
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 16, 16],
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_in_channels=[32, 32, 32],
        d_model=32,
        decoder_layers=2,
        decoder_ffn_dim=32,
        decoder_attention_heads=2,
        num_queries=40,
        num_denoising=0,
        disable_custom_kernels=True,
    )
    network = getattr(transformers, f"{kind}ForObjectDetection")(config)
    tell_apart(network)
    network.save_pretrained(folder)
    transformers.RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def save_rf_detr(folder: Path, task: str = "ObjectDetection") -> Path:
    """Write an RF-DETR (with masks if `task` is InstanceSegmentation) of the real Python classes, with 40 queries."""
    torch.manual_seed(0)
    backbone = transformers.RfDetrDinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=64,
        patch_size=8,
        num_windows=2,
        out_features=["stage2", "stage4"],
    )
    config = transformers.RfDetrConfig(
        backbone_config=backbone,
        id2label=dict(enumerate(CLASS_NAMES)),
        d_model=32,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        decoder_n_points=2,
        num_queries=40,
        group_detr=1,
    )
    network = getattr(transformers, f"RfDetrFor{task}")(config)
    tell_apart(network)
    network.save_pretrained(folder)
    transformers.RfDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def tell_apart(network: Any) -> None:
    """Give a network's heads weights that make its boxes differ in class, confidence and mask."""
    for name, parameter in network.named_parameters():
        if "class_embed" in name or "query_features_proj" in name:
            if parameter.dim() == 2:
                torch.nn.init.normal_(parameter, std=0.3)
            else:
                torch.nn.init.zeros_(parameter)


def _sam3_config(hidden_size: int, num_queries: int) -> Any:
    """Return the configuration of a SAM 3 with 4 x 4 patches."""
    small = {"hidden_size": hidden_size, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return transformers.Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 56,
                "pretrain_image_size": 28,
                "patch_size": 14,
                "window_size": 2,
                "global_attn_indexes": [1],
            },
            "fpn_hidden_size": hidden_size,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": 32,
            "hidden_size": 16,
            "intermediate_size": 16,
            "projection_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "max_position_embeddings": 32,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        geometry_encoder_config=small,
        detr_encoder_config=small,
        detr_decoder_config={**small, "num_queries": num_queries},
        mask_decoder_config={"hidden_size": hidden_size, "num_attention_heads": 2, "num_upsampling_stages": 2},
    )


def save_sam3(folder: Path) -> Path:
    """Write a SAM 3 of the real Python classes, with 20 queries and 4 x 4 patches."""
    torch.manual_seed(0)
    network = transformers.Sam3Model(_sam3_config(16, 20))
    for parameter in network.parameters():
        if parameter.dim() > 1:  # with the usual 0.02, all boxes and masks would be alike
            torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(network.detr_decoder.reference_points.weight)
    network.save_pretrained(folder)
    transformers.Sam3ImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)
    save_clip_tokenizer(folder, 32)
    return folder


def save_sam3_video(folder: Path) -> Path:
    """Write SAM 3's video network of the real Python classes, with 3 queries and 4 x 4 patches.

    The network reports many objects, because what it finds on a frame hardly matches what it remembers of the last.
    """
    torch.manual_seed(0)
    size = 128  # twice the 64 channels of a memory, because the class cuts pointers into pieces of 64
    detector = _sam3_config(size, 3)
    tracker = {
        "vision_config": {"model_type": "sam3_vision_model", **detector.vision_config.to_dict()},
        "prompt_encoder_config": {"hidden_size": size, "image_size": 56, "patch_size": 14, "mask_input_channels": 4},
        "mask_decoder_config": {
            "hidden_size": size,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        "memory_attention_hidden_size": size,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 16,
        "memory_attention_rope_feat_sizes": [4, 4],
        "memory_encoder_hidden_size": size,
        "mask_downsampler_embed_dim": size,
        "memory_fuser_embed_dim": size,
        "memory_fuser_intermediate_dim": 16,
        "memory_fuser_num_layers": 1,
        "image_size": 56,
        "max_object_pointers_in_encoder": 5,
        "num_maskmem": 4,
        "max_cond_frame_num": 2,
    }
    config = transformers.Sam3VideoConfig(
        detector_config=detector.to_dict(),
        tracker_config=tracker,
        low_res_mask_size=16,
        score_threshold_detection=0.1,
        new_det_thresh=0.2,
        high_conf_thresh=0.3,
        high_iou_thresh=0.1,
        assoc_iou_thresh=0.05,
        recondition_every_nth_frame=3,
    )
    network = transformers.Sam3VideoModel(config)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    torch.nn.init.normal_(network.detector_model.detr_decoder.reference_points.weight)
    network.save_pretrained(folder)
    transformers.Sam3ImageProcessor(size={"height": 56, "width": 56}).save_pretrained(folder)
    save_clip_tokenizer(folder, 32)
    return folder
