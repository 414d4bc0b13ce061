"""Find the preview that belongs to an address of the web server."""

from functools import partial
from pathlib import Path

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.storage.layout import PREVIEWS_NAME, StorageLayout


def preview_at(layout: StorageLayout, address: str) -> Path | None:
    """Return the path of the preview at an address, or None if no preview has this address. The file may be missing."""
    match address.split("/"):
        case ["", room, "videos", name] if room == PREVIEWS_NAME:
            path = partial(layout.video_preview, name.removesuffix(".webp"))
        case ["", room, "projects", project, name] if room == PREVIEWS_NAME:
            path = partial(layout.project_preview, project, name.removesuffix(".webp"))
        case _:
            return None
    try:
        found = path()
    except ConfigError:
        return None
    return found if layout.preview_address(found) == address else None
