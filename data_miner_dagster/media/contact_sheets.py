"""Draw contact sheets and single tiles of limited file size, for metadata, reports and pages.

Belongs here: drawing and encoding. Does not belong here: choosing and decoding frames (operations).
"""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

import numpy as np
from anyascii import anyascii
from PIL import Image, ImageDraw, ImageFont

from data_miner_dagster.domain.masks import Mask
from data_miner_dagster.domain.records import PictureFile, RgbImage, SeenPicture
from data_miner_dagster.protocols.pictures import PictureReader

MAX_SHEET_BYTES: Final = 44_000
"""The default size limit of a sheet. Twelve tiles are still sharp enough to judge, and ten thousand sheets take less
than half a gigabyte.
"""

_BORDER: Final = 4
_CAPTION_FONT_SIZE: Final = 13
_HEADING_FONT_SIZE: Final = 14
_BOX_FONT_SIZE: Final = 10
_PIXELS_PER_POINT: Final = 32
_BACKGROUND: Final = (24, 26, 31)
_CAPTION_COLOUR: Final = (236, 238, 242)
_EMPTY_TILE: Final = (58, 62, 70)
_WIDER_SPACES: Final = str.maketrans({" ": "  "})
"""Doubles spaces, because they are so narrow in Pillow's built-in font that words run together."""
_QUALITIES: Final = (82, 70, 58, 46, 34, 24, 14)
_SHRINK: Final = 0.8
"""The largest scaling factor for the sides of a picture that is too large at the lowest quality."""
_MOST_ENLARGED: Final = 2
"""The largest factor by which a single tile enlarges a picture. Enlarging further adds bytes but no detail."""
_METHOD: Final = 2
"""The encoder's effort, from 0 to 6. For video frames, 4 would double the time and save only 3 % of the bytes."""
_VEIL: Final = 90
_OUTLINE: Final = 235
"""The opacity of a mask's edge, out of 255. `_VEIL` is the opacity of its interior."""
_SHOWN_SHARE: Final = 64
"""The share of a pixel, out of 255, that a mask must cover for the pixel to be drawn. Thin masks stay visible."""
_NO_CHARACTER: Final = "\U0010fffe"
"""A character that no font has. It is drawn like every character that a font lacks."""

CLASS_COLOURS: Final = (
    "#4da3ff",
    "#ffb454",
    "#6ee7a8",
    "#ff6b8b",
    "#c792ea",
    "#f9e64f",
    "#39d5d5",
    "#ff8f6b",
    "#9bb8ff",
    "#b8e986",
)
"""Class i is drawn in colour i modulo the length, both in sheets and in the report."""


class Verdict(StrEnum):
    """The outcome of a tile's frame, shown as the colour of its border."""

    NEUTRAL = "neutral"
    KEPT = "kept"
    DROPPED = "dropped"
    DUPLICATE = "duplicate"


VERDICT_COLOURS: Final = {
    Verdict.NEUTRAL: "#4b5160",
    Verdict.KEPT: "#2fbf71",
    Verdict.DROPPED: "#e5484d",
    Verdict.DUPLICATE: "#f5a524",
}


@dataclass(frozen=True, slots=True)
class TileBox:
    """One box to draw, in absolute pixels of the full-size image, with a label such as `bicycle 0.81`.

    The mask also refers to the full-size image, and is drawn as a veil with an outline in the colour of the class.
    """

    box_xyxy: tuple[float, float, float, float]
    class_index: int
    label: str
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a sheet, with a caption and boxes.

    A large JPEG is decoded at reduced size, and an unreadable file is drawn as an empty tile. If `image` is None, its
    place in a sheet stays empty, without a caption. `detail` is the id of the frame, for pages that show more about it.
    """

    image: PictureFile | RgbImage | None
    caption: str = ""
    verdict: Verdict = Verdict.NEUTRAL
    boxes: tuple[TileBox, ...] = ()
    detail: str = ""


def contact_sheet(
    tiles: Sequence[Tile],
    pictures: PictureReader,
    *,
    columns: int = 4,
    tile_wh: tuple[int, int] = (240, 135),
    max_bytes: int = MAX_SHEET_BYTES,
    heading: str = "",
) -> bytes:
    """Draw the tiles row by row. Return one WebP of at most `max_bytes`. The same tiles yield the same bytes.

    A `heading` is drawn above the tiles. If the sheet is too large, its quality is lowered, and then its resolution.

    Raises:
        ValueError: there are no tiles, or `max_bytes` is too small for any resolution.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one tile")
    columns = columns if heading else max(1, min(columns, len(tiles)))  # a heading needs the width
    rows = -(-len(tiles) // columns)
    caption_height = _CAPTION_FONT_SIZE + 7 if any(tile.caption for tile in tiles) else 0
    cell_wh = (tile_wh[0] + 2 * _BORDER, tile_wh[1] + 2 * _BORDER + caption_height)
    above = _HEADING_FONT_SIZE + 10 if heading else 0
    sheet_wh = (columns * cell_wh[0] + _BORDER, above + rows * cell_wh[1] + _BORDER)
    sheet = Image.new("RGB", sheet_wh, _BACKGROUND)
    if heading:
        font = ImageFont.load_default(_HEADING_FONT_SIZE)
        line = _shortened(_drawable(heading), font, sheet_wh[0] - 4 * _BORDER)
        ImageDraw.Draw(sheet).text((2 * _BORDER, _BORDER + 1), line, font=font, fill=_CAPTION_COLOUR)
    for index, tile in enumerate(tiles):
        left = (index % columns) * cell_wh[0] + _BORDER
        top = above + (index // columns) * cell_wh[1] + _BORDER
        if tile.image is not None:
            _draw_tile(sheet, tile, _seen(tile.image, tile_wh, pictures), (left, top), tile_wh)
    return _encode_within(sheet, max_bytes)


def drawn_tile(
    tile: Tile, pictures: PictureReader, *, tile_wh: tuple[int, int] = (320, 180), max_bytes: int = 14_000
) -> bytes:
    """Return one tile with its boxes, without a border or caption, as a WebP of at most `max_bytes`.

    The picture keeps its proportions within `tile_wh`. Its sides are at most doubled.

    Raises:
        ValueError: the tile has no image, or `max_bytes` is too small for any resolution.
    """
    if tile.image is None:
        raise ValueError("a tile that is drawn alone needs an image")
    seen = _seen(tile.image, tile_wh, pictures)
    height, width = seen.rgb.shape[:2]
    image = _fitted(seen, (min(tile_wh[0], _MOST_ENLARGED * width), min(tile_wh[1], _MOST_ENLARGED * height)))
    _draw_boxes(image, tile, seen, (0, 0), image.size)
    return _encode_within(image, max_bytes)


def data_uri(webp: bytes) -> str:
    """Return a WebP as a `data:` URI."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


def class_colour(class_index: int) -> str:
    """Return the colour of a class as `#rrggbb`."""
    return CLASS_COLOURS[class_index % len(CLASS_COLOURS)]


def _seen(source: PictureFile | RgbImage, at_least_wh: tuple[int, int], pictures: PictureReader) -> SeenPicture:
    if not isinstance(source, PictureFile):
        return SeenPicture(source, (source.shape[1], source.shape[0]))
    try:
        return pictures.see(source, at_least_wh)
    except Exception:  # noqa: BLE001 - missing, truncated, a bomb, no image: the page works without it
        return SeenPicture(np.asarray(Image.new("RGB", at_least_wh, _EMPTY_TILE), np.uint8), (1, 1))


def _draw_tile(
    sheet: Image.Image, tile: Tile, seen: SeenPicture, corner: tuple[int, int], tile_wh: tuple[int, int]
) -> None:
    left, top = corner
    draw = ImageDraw.Draw(sheet)
    colour = VERDICT_COLOURS[tile.verdict]
    draw.rectangle((left, top, left + tile_wh[0] + 3, top + tile_wh[1] + 3), fill=_BACKGROUND, outline=colour, width=2)
    image = _fitted(seen, tile_wh)
    offset = (left + 2 + (tile_wh[0] - image.width) // 2, top + 2 + (tile_wh[1] - image.height) // 2)
    sheet.paste(image, offset)
    _draw_boxes(sheet, tile, seen, offset, image.size)
    if tile.caption:
        font = ImageFont.load_default(_CAPTION_FONT_SIZE)
        caption = _shortened(_drawable(tile.caption), font, tile_wh[0])
        draw.text((left + 2, top + tile_wh[1] + 5), caption, font=font, fill=_CAPTION_COLOUR)


def _fitted(seen: SeenPicture, tile_wh: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(seen.rgb)
    scale = min(tile_wh[0] / image.width, tile_wh[1] / image.height)
    fitted_wh = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(fitted_wh, Image.Resampling.BILINEAR)


def _draw_boxes(
    canvas: Image.Image, tile: Tile, seen: SeenPicture, offset: tuple[int, int], shown_wh: tuple[int, int]
) -> None:
    if not tile.boxes:
        return
    scale_xy = shown_wh[0] / seen.full_wh[0], shown_wh[1] / seen.full_wh[1]
    for box in reversed(tile.boxes):  # draw masks first, below all boxes and labels
        if box.mask is not None:
            _draw_mask(canvas, box.mask, class_colour(box.class_index), offset, scale_xy)
    draw = ImageDraw.Draw(canvas)
    font_size = max(_BOX_FONT_SIZE, round(shown_wh[0] / _PIXELS_PER_POINT))  # legible even if shown small
    for box in reversed(tile.boxes):  # draw the most confident last, on top
        _draw_box(draw, box, offset, scale_xy, font_size, offset[0] + shown_wh[0])


def _draw_mask(
    canvas: Image.Image, mask: Mask, colour: str, offset: tuple[int, int], scale_xy: tuple[float, float]
) -> None:
    region, (left, top) = mask.region()
    height, width = region.shape
    edges = [round(left * scale_xy[0]), round(top * scale_xy[1])]
    edges += [round((left + width) * scale_xy[0]), round((top + height) * scale_xy[1])]
    size = max(1, edges[2] - edges[0]), max(1, edges[3] - edges[1])
    shares = np.asarray(Image.fromarray(region.astype(np.uint8) * np.uint8(255)).resize(size, Image.Resampling.BOX))
    shown = np.pad(shares >= _SHOWN_SHARE, 1)
    inner = shown[:-2, 1:-1] & shown[2:, 1:-1] & shown[1:-1, :-2] & shown[1:-1, 2:]
    veil = np.where(shown[1:-1, 1:-1], np.where(inner, _VEIL, _OUTLINE), 0).astype(np.uint8)
    canvas.paste(colour, (offset[0] + edges[0], offset[1] + edges[1]), Image.fromarray(veil))


def _draw_box(
    draw: ImageDraw.ImageDraw,
    box: TileBox,
    offset: tuple[int, int],
    scale_xy: tuple[float, float],
    font_size: int,
    right_end: int,
) -> None:
    x_min, y_min, x_max, y_max = box.box_xyxy
    left, right = offset[0] + x_min * scale_xy[0], offset[0] + x_max * scale_xy[0]
    top, bottom = offset[1] + y_min * scale_xy[1], offset[1] + y_max * scale_xy[1]
    colour = class_colour(box.class_index)
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
    if not box.label:
        return
    font = ImageFont.load_default(font_size)
    label = _drawable(box.label)
    text_width = draw.textlength(label, font=font)
    label_top = max(float(offset[1]), top - font_size - 3)
    left = max(float(offset[0]), min(left, right_end - text_width - 4))  # stays within the picture
    draw.rectangle((left, label_top, left + text_width + 4, label_top + font_size + 3), fill=colour)
    draw.text((left + 2, label_top + 1), label, font=font, fill=(12, 14, 18))


def _drawable(text: str) -> str:
    """Double the spaces in `text`, and transliterate characters that the font lacks to Latin letters.

    Pillow's built-in font has little beyond ASCII. System fonts have more, but the same sheet would then have
    different bytes on different machines.
    """
    return "".join(map(_drawable_character, text)).translate(_WIDER_SPACES)


@lru_cache(maxsize=4096)
def _drawable_character(character: str) -> str:
    font = ImageFont.load_default(_BOX_FONT_SIZE)
    drawn, empty_box = font.getmask(character), font.getmask(_NO_CHARACTER)
    is_known = (drawn.size, bytes(drawn)) != (empty_box.size, bytes(empty_box))
    return character if is_known else anyascii(character)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _encode_within(image: Image.Image, max_bytes: int) -> bytes:
    """Return an image as a WebP of at most `max_bytes`, lowering quality and then resolution if necessary.

    Raises:
        ValueError: the image exceeds `max_bytes` at any resolution of at least 8 pixels per side.
    """
    while True:
        encoded = _encoded(image, _QUALITIES[0])
        if len(encoded) <= max_bytes:
            return encoded
        encoded = _encoded(image, _QUALITIES[-1])
        if len(encoded) <= max_bytes:
            return _best_within(image, max_bytes, encoded)
        shrink = min(_SHRINK, math.sqrt(max_bytes / len(encoded)))
        smaller_wh = (round(image.width * shrink), round(image.height * shrink))
        if min(smaller_wh) < 8:
            raise ValueError(
                f"the picture exceeds {max_bytes} bytes even at {image.width}x{image.height} pixels; raise max_bytes"
            )
        image = image.resize(smaller_wh, Image.Resampling.BILINEAR)


def _best_within(image: Image.Image, max_bytes: int, lowest: bytes) -> bytes:
    """Return the image at the best intermediate quality that fits within `max_bytes`, or `lowest` if none fits.

    The quality is found by bisection.
    """
    best = lowest
    qualities: Sequence[int] = _QUALITIES[1:-1]
    while qualities:
        middle = len(qualities) // 2
        encoded = _encoded(image, qualities[middle])
        if len(encoded) <= max_bytes:
            best, qualities = encoded, qualities[:middle]
        else:
            qualities = qualities[middle + 1 :]
    return best


def _encoded(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=_METHOD)
    return buffer.getvalue()
