"""The text and image preprocessing with which each family of image-text encoders was trained.

Belongs here: the recipes, and tokenizing prompts with them. Does not belong here: networks (hub_encoders.py), resizing
(pixels.py).

A tokenizer's defaults change between versions of its library and between checkpoints. Padding on the wrong side or a
missing last token changes every similarity without an error. Therefore, a tokenizer provides only the ids of the words,
and the tokens before and after them are defined here. A checkpoint's own image settings apply, since it was trained
with them. Settings that it omits come from here rather than from the defaults of a class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from data_miner_dagster.domain.errors import ModelError

if TYPE_CHECKING:
    import torch

_HALF: Final = (0.5, 0.5, 0.5)
_CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class TextRecipe:
    """The tokens around the words of a prompt. Padding is always on the right."""

    length: int | None  # in tokens, including all special ones, or None for the network's maximum
    is_lowered: bool = True
    starts: bool = False  # begins with the start token, if the vocabulary has one
    ends: bool = True  # ends with the end token, even if words had to be cut off
    pads_with_end: bool = False  # pads with the end token rather than the padding token
    is_padded_whole: bool = True  # pads to `length`; otherwise to the longest prompt of the batch
    reads_mask: bool = False  # the network needs an attention mask that excludes the padding


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """The conversion of an image into the network's square input. A checkpoint's own settings take precedence."""

    is_stretched: bool  # resized to the square; otherwise scaled by its shorter side, then cropped at the centre
    resample: Image.Resampling
    mean: tuple[float, float, float] | None  # None if the values, from 0 to 1, are not normalized
    std: tuple[float, float, float] | None

    def completed(self, stated: Mapping[str, Any], side: int) -> dict[str, Any]:
        """Return an image processor's settings: those in `stated` that are not None, and the recipe's for the rest.

        Args:
            stated: the checkpoint's own settings, by their names in `preprocessor_config.json`.
            side: the side of the network's square input in pixels.
        """
        square = {"height": side, "width": side}
        trained = {
            "do_resize": True,
            "size": square if self.is_stretched else {"shortest_edge": side},
            "resample": int(self.resample),
            "do_center_crop": not self.is_stretched,
            "crop_size": square,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": self.mean is not None,
            "image_mean": self.mean,
            "image_std": self.std,
        }
        return {**trained, **{key: value for key, value in stated.items() if value is not None}}


# Source: google-research/big_vision, `SigLIP_demo.ipynb` (`tokenize(max_len=64, eos="sticky", pad_value=1)`, which also
# converts to lower case; 1 is `</s>`) and `SigLIP2_demo.ipynb` (`lower|tok(length=64, bos="no", eos="sticky")`, padded
# with 0, `<pad>`) in `configs/proj/image_text`. Images: `resize` to the square and `value_range(-1, 1)`. The published
# checkpoints state bicubic for SigLIP and bilinear for SigLIP 2.
SIGLIP_TEXT: Final = TextRecipe(length=64, pads_with_end=True)
SIGLIP2_TEXT: Final = TextRecipe(length=64)
SIGLIP_IMAGE: Final = ImageRecipe(True, Image.Resampling.BICUBIC, _HALF, _HALF)
SIGLIP2_IMAGE: Final = ImageRecipe(True, Image.Resampling.BILINEAR, _HALF, _HALF)

# Source: openai/CLIP, `tokenize` and `_transform`. Attention is causal and the text's vector is read at the last token,
# so neither the amount nor the kind of padding after it matters.
CLIP_TEXT: Final = TextRecipe(length=None, starts=True, pads_with_end=True, is_padded_whole=False, reads_mask=True)
CLIP_IMAGE: Final = ImageRecipe(False, Image.Resampling.BICUBIC, _CLIP_MEAN, _CLIP_STD)

# Source: facebookresearch/MetaCLIP, `mini_clip.factory` (XLM-V's unmodified tokenizer, 77 tokens) and
# `mini_clip.transform`. Upper case is preserved, since the vocabulary has it. Variants with mT5's vocabulary have no
# start token.
METACLIP2_TEXT: Final = TextRecipe(length=None, is_lowered=False, starts=True, is_padded_whole=False, reads_mask=True)
METACLIP2_IMAGE: Final = CLIP_IMAGE

# Source: google-deepmind/tips, `pytorch.text_encoder`: lower case, neither a start nor an end token, 64 tokens,
# averaged without the padding. Images: resized to the square, values from 0 to 1.
TIPSV2_TEXT: Final = TextRecipe(length=64, ends=False, reads_mask=True)
TIPSV2_IMAGE: Final = ImageRecipe(True, Image.Resampling.BILINEAR, None, None)


class PromptTokenizer:
    """Turns prompts into the arguments of a text tower.

    Args:
        recipe: the tokens around the words.
        tokenizer: transformers' tokenizer of the checkpoint.
        length: the maximum number of tokens that the network reads.
        model: the model's registry name, for the error message.

    Raises:
        ModelError: the vocabulary lacks a token that the recipe needs.
    """

    def __init__(self, recipe: TextRecipe, tokenizer: Any, length: int, model: str) -> None:
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._length = min(length, recipe.length or length)
        first = tokenizer.bos_token_id if recipe.starts else None
        self._before = [] if first is None else [int(first)]
        self._after = [_special(tokenizer, "eos", model)] if recipe.ends else []
        self._padding = self._after[0] if recipe.pads_with_end else _special(tokenizer, "pad", model)

    @property
    def last(self) -> int | None:
        """The id of the token that ends a text, or None if the recipe has none."""
        return self._after[0] if self._after else None

    def rows(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each prompt, without padding. Words beyond the maximum length are cut off."""
        texts = [prompt.lower() if self._recipe.is_lowered else prompt for prompt in prompts]
        words = self._tokenizer(
            texts, add_special_tokens=False, padding=False, truncation=False, return_attention_mask=False, verbose=False
        )["input_ids"]
        room = self._length - len(self._before) - len(self._after)
        return [[*self._before, *ids[:room], *self._after] for ids in words]

    def __call__(self, prompts: Sequence[str]) -> "dict[str, torch.Tensor]":
        """Return `input_ids` (P, T), padded on the right, and `attention_mask` if the network reads one.

        There must be at least one prompt.
        """
        import torch

        rows = self.rows(prompts)
        width = self._length if self._recipe.is_padded_whole else max(map(len, rows))
        ids = torch.tensor([row + [self._padding] * (width - len(row)) for row in rows])
        if not self._recipe.reads_mask:
            return {"input_ids": ids}
        return {
            "input_ids": ids,
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
        }


def _special(tokenizer: Any, kind: str, model: str) -> int:
    token: int | None = getattr(tokenizer, f"{kind}_token_id")
    if token is None:
        raise ModelError(f"the tokenizer of model {model} has no {kind} token; use the model's own tokenizer files")
    return token
