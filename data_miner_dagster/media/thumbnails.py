"""One small picture at a time, for pages that show many."""

import io
from pathlib import Path

from PIL import Image

from data_miner_dagster.media.contact_sheets import data_uri

_QUALITY = 70


def thumbnail_uri(path: Path, *, within_wh: tuple[int, int] = (320, 240)) -> str | None:
    """Return an image as the `data:` URI of a small WebP, None if it cannot be read."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            image.draft("RGB", within_wh)  # JPEG only: decodes at 1/2, 1/4 or 1/8 size
            small = image.convert("RGB")
            small.thumbnail(within_wh)
            small.save(buffer, "WEBP", quality=_QUALITY)
    except (OSError, ImportError):  # not an image; ultralytics, once imported, makes Pillow miss a plug-in for such
        return None
    return data_uri(buffer.getvalue())
