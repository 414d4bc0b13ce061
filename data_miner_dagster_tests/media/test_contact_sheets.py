import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import PictureFile, RgbImage, SeenPicture
from data_miner_dagster.media.contact_sheets import (
    MAX_SHEET_BYTES,
    Tile,
    TileBox,
    Verdict,
    class_colour,
    contact_sheet,
    drawn_tile,
)
from data_miner_dagster.media.foreign_pictures import small_picture


class _Files:
    """Reads the tests' own pictures in this process."""

    def see(self, file: PictureFile, at_least_wh: tuple[int, int] | None = None) -> SeenPicture:
        return small_picture(file.path, at_least_wh)


def _opened(webp: bytes) -> RgbImage:
    image = Image.open(io.BytesIO(webp))
    assert image.format == "WEBP"
    return np.asarray(image.convert("RGB"))


def _noise(seed: int) -> RgbImage:
    return np.random.default_rng(seed).integers(0, 256, (270, 480, 3), dtype=np.uint8)


def test_contact_sheet__no_tiles() -> None:
    with pytest.raises(ValueError, match="at least one tile"):
        contact_sheet([], _Files())


def test_contact_sheet__places_tiles_row_by_row() -> None:
    red, green, blue = (np.full((135, 240, 3), colour, np.uint8) for colour in ([220, 0, 0], [0, 200, 0], [0, 0, 220]))
    sheet = _opened(contact_sheet([Tile(red), Tile(green), Tile(blue)], _Files(), columns=2))
    assert sheet.shape == (2 * 143 + 4, 2 * 248 + 4, 3)
    centres = [sheet[4 + 67, 4 + 120], sheet[4 + 67, 252 + 120], sheet[147 + 67, 4 + 120]]
    assert [int(np.argmax(centre)) for centre in centres] == [0, 1, 2]


def test_contact_sheet__same_tiles_same_bytes() -> None:
    tiles = [Tile(_noise(seed), f"tile {seed}") for seed in range(3)]
    assert contact_sheet(tiles, _Files()) == contact_sheet(tiles, _Files())


def test_contact_sheet__stays_within_the_byte_budget_on_noise() -> None:
    tiles = [Tile(_noise(seed), "noise cannot be compressed") for seed in range(12)]
    assert len(contact_sheet(tiles, _Files(), columns=6)) <= MAX_SHEET_BYTES
    small = contact_sheet(tiles, _Files(), columns=6, max_bytes=6_000)
    assert len(small) <= 6_000
    assert _opened(small).shape[1] < 6 * 248


def test_contact_sheet__draws_boxes_where_they_are() -> None:
    grey = np.full((270, 480, 3), 90, np.uint8)
    boxed = Tile(grey, boxes=(TileBox((240.0, 135.0, 400.0, 240.0), 0, ""),))
    sheet = _opened(contact_sheet([boxed], _Files(), columns=1, max_bytes=1_000_000))
    # at half size, the box's left edge is at x = 120 in the tile and its bottom edge at y = 120
    for x, y in ((4 + 2 + 120, 4 + 2 + 90), (4 + 2 + 160, 4 + 2 + 119)):
        red, _, blue = sheet[y, x].astype(int)
        assert blue > red + 60, "the box is not where it should be"
    assert class_colour(0) == class_colour(10)


def test_contact_sheet__border_tells_the_verdict() -> None:
    grey = np.full((135, 240, 3), 90, np.uint8)
    sheets = [
        _opened(contact_sheet([Tile(grey, verdict=verdict)], _Files(), columns=1, max_bytes=1_000_000))
        for verdict in (Verdict.KEPT, Verdict.DROPPED)
    ]
    kept, dropped = (sheet[60, 5].astype(int) for sheet in sheets)
    assert kept[1] > kept[0] + 40
    assert dropped[0] > dropped[1] + 40


@pytest.mark.parametrize(
    ("text", "latin"),
    [("人 0.81", "Ren 0.81"), ("Кошка", "Koshka"), ("façade — ½", "facade - 1/2"), ("plain a-z … 9", "plain a-z … 9")],
)
def test_contact_sheet__spells_what_its_font_lacks_in_latin_letters(text: str, latin: str) -> None:
    grey = np.full((135, 240, 3), 90, np.uint8)
    box = (20.0, 40.0, 200.0, 120.0)
    drawn, spelled, without = (
        contact_sheet([Tile(grey, words, boxes=(TileBox(box, 0, words),))], _Files(), columns=1)
        for words in (text, latin, "")
    )
    assert drawn == spelled
    assert drawn != without


def test_contact_sheet__two_names_of_another_alphabet_look_different() -> None:
    grey = np.full((135, 240, 3), 90, np.uint8)
    assert contact_sheet([Tile(grey, "人")], _Files()) != contact_sheet([Tile(grey, "犬")], _Files())


def test_contact_sheet__a_missing_or_broken_file_is_an_empty_tile(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    missing, unreadable = (PictureFile(path, is_foreign=False) for path in (tmp_path / "missing.jpg", broken))
    sheet = _opened(contact_sheet([Tile(file) for file in (missing, unreadable, None)], _Files(), columns=3))
    assert sheet.shape[1] == 3 * 248 + 4


def test_drawn_tile__keeps_proportions_and_draws_boxes() -> None:
    grey = np.full((200, 100, 3), 128, np.uint8)
    drawn = _opened(drawn_tile(Tile(grey, boxes=(TileBox((0, 0, 100, 100), 0, ""),)), _Files(), tile_wh=(320, 180)))
    assert drawn.shape == (180, 90, 3)
    assert abs(drawn[45, 45].astype(int) - 128).max() < 12
    assert drawn[45, 1, 2] > drawn[45, 1, 0] + 60, "the first class is drawn in blue"
    assert abs(drawn[150, 1].astype(int) - 128).max() < 12, "the box ends half way down"


def test_drawn_tile__a_small_picture_is_enlarged_twofold_at_most() -> None:
    grey = np.full((20, 30, 3), 128, np.uint8)
    assert _opened(drawn_tile(Tile(grey), _Files(), tile_wh=(320, 180))).shape == (40, 60, 3)
    missing = PictureFile(Path("missing.jpg"), is_foreign=False)
    assert _opened(drawn_tile(Tile(missing), _Files(), tile_wh=(320, 180))).shape == (180, 320, 3)


def test_drawn_tile__takes_the_highest_quality_that_fits() -> None:
    picture = _noise(1)
    sizes = [len(drawn_tile(Tile(picture), _Files(), max_bytes=limit)) for limit in range(9_000, 60_000, 1_500)]
    assert sizes == sorted(sizes), "more room is never used for less"
    assert len(set(sizes)) > 6
    for size in set(sizes):
        assert len(drawn_tile(Tile(picture), _Files(), max_bytes=size)) == size, "what just fits is taken"


def test_drawn_tile__one_without_an_image() -> None:
    with pytest.raises(ValueError, match="needs an image"):
        drawn_tile(Tile(None), _Files())


def test_drawn_tile__a_mask_is_a_veil_with_an_outline() -> None:
    grey = np.full((180, 320, 3), 128, np.uint8)
    pixels = np.zeros((180, 320), bool)
    pixels[40:140, 60:260] = True
    pixels[70:110, 120:200] = False  # a hole
    box = TileBox((60, 40, 260, 140), 0, "", Mask.of(pixels))
    drawn = _opened(drawn_tile(Tile(grey, boxes=(box,)), _Files(), max_bytes=60_000)).astype(int)
    blueness = drawn[..., 2] - drawn[..., 0]  # class 0 is blue
    assert abs(blueness[20, 160]) < 10  # outside
    assert abs(blueness[90, 160]) < 10  # in the hole
    assert 30 < blueness[90, 90] < 90  # the translucent fill
    assert blueness[66:70, 160].max() > blueness[90, 90] + 10  # the outline, also around the hole


def test_drawn_tile__a_mask_of_one_pixel_does_not_vanish() -> None:
    grey = np.full((1800, 3200, 3), 128, np.uint8)
    pixels = np.zeros((1800, 3200), bool)
    pixels[900, 1600] = True
    with_mask, without = (
        _opened(drawn_tile(Tile(grey, boxes=(TileBox((0, 0, 10, 10), 0, "", mask),)), _Files(), max_bytes=60_000))
        for mask in (Mask.of(pixels), None)
    )
    assert (with_mask[89:92, 159:162] != without[89:92, 159:162]).any()
