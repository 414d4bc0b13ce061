"""One small picture at a time, for pages that show many."""

import io
from pathlib import Path

from data_miner_dagster.media.contact_sheets import data_uri
from data_miner_dagster.media.foreign_pictures import small_picture
from data_miner_dagster.media.outcomes import UnreadableImageError

_QUALITY = 70


def thumbnail_uri(path: Path, *, within_wh: tuple[int, int] = (320, 240)) -> str | None:
    """Return an image as the `data:` URI of a small WebP, None if it cannot be read."""
    buffer = io.BytesIO()
    try:
        small = small_picture(path, within_wh)
    except UnreadableImageError:
        return None
    small.thumbnail(within_wh)
    small.save(buffer, "WEBP", quality=_QUALITY)
    return data_uri(buffer.getvalue())
