"""Test what networks are given: recipes against token ids and settings written by hand, not library defaults."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image

from data_miner_dagster.domain.errors import ModelError
from data_miner_dagster.models.encoders.pixels import PixelPreparation
from data_miner_dagster.models.encoders.recipes import (
    CLIP_IMAGE,
    CLIP_TEXT,
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
from data_miner_dagster.models.provider import ModelProvider
from data_miner_dagster_tests.support.tiny_networks import save_tiny, tiny_config

PAD, START, END = 0, 2, 3
A, PHOTO, OF, CAT, THE, RED = 4, 5, 6, 7, 9, 10
HALF = (127.5, 127.5, 127.5)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a tokenizer that adds both special tokens and pads on the left."""
    loaded = transformers.AutoTokenizer.from_pretrained(
        save_tiny("clip", tmp_path_factory.mktemp("tokenizer") / "clip")
    )
    assert loaded(["a cat", "the"], padding=True)["input_ids"] == [[START, A, CAT, END], [PAD, START, THE, END]]
    return loaded


@pytest.mark.parametrize(
    ("recipe", "expected", "mask"),
    [
        (SIGLIP_TEXT, [A, PHOTO, OF, THE, CAT, END, *[END] * 58], None),
        (SIGLIP2_TEXT, [A, PHOTO, OF, THE, CAT, END, *[PAD] * 58], None),
        (CLIP_TEXT, [START, A, PHOTO, OF, THE, CAT, END], [1] * 7),
        (TIPSV2_TEXT, [A, PHOTO, OF, THE, CAT, *[PAD] * 59], [1] * 5 + [0] * 59),
    ],
)
def test_prompt_tokenizer__token_ids_of_each_family(
    recipe: TextRecipe, expected: list[int], mask: list[int] | None, tokenizer: Any
) -> None:
    found = PromptTokenizer(recipe, tokenizer, 64, "toy")(["A photo of THE cat"])
    assert found["input_ids"].tolist() == [expected]
    assert ("attention_mask" in found) == (mask is not None)
    if mask is not None:
        assert found["attention_mask"].tolist() == [mask]


def test_prompt_tokenizer__metaclip2_keeps_upper_case_and_pads_on_the_right(tokenizer: Any) -> None:
    found = PromptTokenizer(METACLIP2_TEXT, tokenizer, 77, "toy")(["a CAT", "the red cat"])
    assert found["input_ids"].tolist() == [[START, A, 1, END, PAD], [START, THE, RED, CAT, END]]
    assert found["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (SIGLIP2_TEXT, [CAT] * 63 + [END]),
        (CLIP_TEXT, [START, *[CAT] * 62, END]),
        (TIPSV2_TEXT, [CAT] * 64),
    ],
)
def test_prompt_tokenizer__the_last_token_stays_where_words_are_cut_off(
    recipe: TextRecipe, expected: list[int], tokenizer: Any
) -> None:
    assert PromptTokenizer(recipe, tokenizer, 64, "toy").rows(["cat " * 100]) == [expected]


def test_prompt_tokenizer__siglip2_by_the_library_class_whose_default_is_the_left(tmp_path: Path) -> None:
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, "<mask>": 4, "▁": 5, "a": 6, "c": 7, "t": 8}
    transformers.Siglip2Tokenizer(vocab=vocabulary, merges=[]).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings.pop("padding_side", None)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.padding_side == "left"
    found = PromptTokenizer(SIGLIP2_TEXT, loaded, 64, "toy")(["A Cat"])
    assert found["input_ids"].tolist() == [[6, 5, 7, 6, 8, 1, *[0] * 58]]


def test_prompt_tokenizer__a_vocabulary_without_a_needed_token(tokenizer: Any) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="the tokenizer of model toy has no eos token"):
        PromptTokenizer(SIGLIP2_TEXT, tokenizer, 64, "toy")


def test_load_image_text__a_network_that_looks_for_another_last_token(tmp_path: Path) -> None:
    folder = save_tiny("metaclip2", tmp_path / "net")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="ends a text with token 3, but the network expects 1"):
        ModelProvider(tiny_config("metaclip2", folder)).filter_encoder.load()


@pytest.mark.parametrize(
    ("recipe", "stretched", "resample", "mean", "std"),
    [
        (SIGLIP_IMAGE, True, Image.Resampling.BICUBIC, HALF, HALF),
        (SIGLIP2_IMAGE, True, Image.Resampling.BILINEAR, HALF, HALF),
        (
            CLIP_IMAGE,
            False,
            Image.Resampling.BICUBIC,
            (122.7709383, 116.7460125, 104.09373615),
            (68.5005327, 66.6321579, 70.32316305),
        ),
        (TIPSV2_IMAGE, True, Image.Resampling.BILINEAR, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    ],
)
def test_image_recipe__where_a_checkpoint_says_nothing(
    recipe: ImageRecipe, stretched: bool, resample: Image.Resampling, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    found = PixelPreparation.of_settings(recipe.completed({}, 32), is_stretched=recipe.is_stretched, model="own")
    assert (found.resize_wh, found.shortest_edge) == (((32, 32), None) if stretched else (None, 32))
    assert (found.output_wh, found.resample) == ((32, 32), resample)
    assert found.mean == pytest.approx(mean)
    assert found.std == pytest.approx(std)


def test_image_recipe__what_a_checkpoint_states_holds() -> None:
    stated = {"size": 40, "crop_size": 36, "resample": 2, "image_mean": [0.1, 0.2, 0.3], "image_std": None}
    found = PixelPreparation.of_settings(CLIP_IMAGE.completed(stated, 32), is_stretched=False, model="own")
    assert (found.shortest_edge, found.crop_wh, found.resample) == (40, (36, 36), Image.Resampling.BILINEAR)
    assert found.mean == pytest.approx((25.5, 51.0, 76.5))
    assert found.std == pytest.approx((68.5005327, 66.6321579, 70.32316305))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"do_resize": False}, "^model own: the checkpoint's image processor must resize and rescale images"),
        ({"do_center_crop": False}, "^model own: the checkpoint's image processor returns images of different sizes"),
    ],
)
def test_image_recipe__settings_that_cannot_be_used(stated: dict[str, Any], message: str) -> None:
    settings = CLIP_IMAGE.completed(stated, 32)
    with pytest.raises(ModelError, match=message):
        assert PixelPreparation.of_settings(settings, is_stretched=False, model="own").output_wh


def test_load_image_text__siglip2_that_leaves_its_interpolation_out(tmp_path: Path) -> None:
    folder = save_tiny("siglip2", tmp_path / "bare")
    shutil.copytree(folder, tmp_path / "stated")
    _restate(folder, image_processor_type="SiglipImageProcessor")
    _restate(
        tmp_path / "stated",
        image_processor_type="SiglipImageProcessor",
        size={"height": 32, "width": 32},
        resample=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    assert (
        transformers.AutoImageProcessor.from_pretrained(folder).resample == Image.Resampling.BICUBIC
    )  # the class's default
    bare, stated = (
        ModelProvider(tiny_config("siglip2", path)).filter_encoder.load() for path in (folder, tmp_path / "stated")
    )
    picture = np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8)
    assert (bare.preprocess(picture) == stated.preprocess(picture)).all()


def _restate(folder: Path, **settings: Any) -> None:
    for name in ("processor_config.json", "preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
