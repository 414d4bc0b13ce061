"""Extractors of sites that do not exist, for what yt-dlp's own would ask a real site for."""

from typing import Any

from data_miner_dagster.sites.client import SiteClient


def install(client: SiteClient, extractor: type[Any]) -> None:
    """Have a client, in the calling thread, ask this extractor before all others."""
    ydl = client._ydl()
    ydl.add_info_extractor(extractor(ydl))
    key = extractor.ie_key()
    ydl._ies = {key: ydl._ies[key], **ydl._ies}
