"""One small picture at a time, for pages that show many."""

import io

from PIL import Image

from data_miner_dagster.domain.records import PictureFile
from data_miner_dagster.media.contact_sheets import data_uri
from data_miner_dagster.media.outcomes import UnreadableImageError
from data_miner_dagster.protocols.pictures import PictureReader

_QUALITY = 70


def thumbnail_uri(pictures: PictureReader, file: PictureFile, *, within_wh: tuple[int, int] = (320, 240)) -> str | None:
    """Return an image as the `data:` URI of a small WebP, None if it cannot be read."""
    buffer = io.BytesIO()
    try:
        small = Image.fromarray(pictures.see(file, within_wh).rgb)
    except UnreadableImageError:
        return None
    small.thumbnail(within_wh)
    small.save(buffer, "WEBP", quality=_QUALITY)
    return data_uri(buffer.getvalue())
