"""Draw line charts of values between 0 and 1, with whole numbers, such as epochs, on the horizontal axis."""

import io
from collections.abc import Mapping, Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

_SIZE: Final = (480, 240)
_LEFT, _TOP, _RIGHT, _BOTTOM = 40, 24, 12, 24
_BACKGROUND: Final = (255, 255, 255)
_GRID: Final = (222, 226, 230)
_TEXT: Final = (73, 80, 87)
_COLOURS: Final = ((28, 126, 214), (240, 140, 0), (55, 178, 77))
_TICKS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)


def draw_curves(curves: Mapping[str, Sequence[float]], *, unit: str) -> bytes:
    """Return a line chart as a WebP. The values, from 0 to 1, are drawn at the whole numbers 0, 1, 2, and so on.

    Args:
        curves: the values of each curve, by its name. There must be at least one curve; only the first three are drawn.
        unit: the plural noun for the whole numbers, such as epochs.
    """
    width, height = _SIZE
    picture = Image.new("RGB", _SIZE, _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=11)
    last = max(1, *(len(values) - 1 for values in curves.values()))

    def place(number: int, value: float) -> tuple[float, float]:
        x = _LEFT + (width - _LEFT - _RIGHT) * number / last
        return x, height - _BOTTOM - (height - _TOP - _BOTTOM) * min(1.0, max(0.0, value))

    for tick in _TICKS:
        (x, y), (end, _) = place(0, tick), place(last, tick)
        draw.line((x, y, end, y), fill=_GRID)
        draw.text((4, y - 7), f"{tick:.2f}", font=font, fill=_TEXT)
    draw.text((_LEFT, height - _BOTTOM + 5), f"0 to {last:,} {unit}", font=font, fill=_TEXT)
    x = _LEFT
    for (name, values), colour in zip(curves.items(), _COLOURS, strict=False):
        points = [place(number, value) for number, value in enumerate(values)]
        draw.line(points, fill=colour, width=2)
        for px, py in points if last <= 50 else points[-1:]:
            draw.ellipse((px - 2, py - 2, px + 2, py + 2), fill=colour)
        draw.text((x, 5), name, font=font, fill=colour)
        x += int(draw.textlength(name, font=font)) + 16
    content = io.BytesIO()
    picture.save(content, "WEBP", lossless=True)
    return content.getvalue()
