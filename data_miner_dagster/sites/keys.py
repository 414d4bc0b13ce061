"""Video keys of what a site offers: injective, safe as file names and as partition keys."""

import hashlib
import re
import urllib.parse
from typing import Final

from data_miner_dagster.domain.keys import check_video_key

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_MAX_READABLE: Final = 60
DIRECT_EXTENSIONS: Final = frozenset(
    ["3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "ts", "webm", "wmv"]
)
"""A path that ends in one of these is taken for a video file: no request is needed to list it."""


def _readable(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:_MAX_READABLE].strip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def key_of_site_video(extractor: str, video_id: str) -> str:
    """Return `<extractor>-<id>`, as it is where the id is safe, otherwise with a hash of it.

    The hash stands behind a ".", and an id with a "." is never taken as it is: different ids have different keys.

    Raises:
        ConfigError: no key can be made of `extractor`.
    """
    site = re.sub(r"[^a-z0-9]+", "_", extractor.lower()).strip("_")
    if _SAFE_ID.fullmatch(video_id):
        return check_video_key(f"{site}-{video_id}")
    return check_video_key(f"{site}-{_readable(video_id)}.{_digest(video_id)}")


def order_of_asking(video_key: str) -> tuple[str, str, str]:
    """Return by what to sort videos that are to be asked for: site by site, and then by the hashes in their keys.

    Names that are alike are often of one making, and damaged alike. Asked for one after another such videos would look
    as if their whole site refused (stages/downloading/site_health.py).
    """
    return video_key.partition("-")[0], video_key.rpartition(".")[2], video_key


def site_of_key(video_key: str) -> str | None:
    """Return the site that a video counts for, None where only its address says (the generic extractor)."""
    extractor = video_key.partition("-")[0]
    return None if extractor == "generic" else extractor


def canonical_url(url: str) -> str:
    """Return a URL as URLs are compared: scheme and host in lower case, no default port, no fragment."""
    parts = urllib.parse.urlsplit(url.strip())
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    default_port = {"http": 80, "https": 443}.get(parts.scheme.lower())
    if parts.port is not None and parts.port != default_port:
        host = f"{host}:{parts.port}"
    return urllib.parse.urlunsplit((parts.scheme.lower(), host, parts.path or "/", parts.query, ""))


def key_of_url(url: str) -> str:
    """Return `generic-<readable name>.<hash of the URL>`: the generic extractor's ids are file names, which repeat."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rstrip("/").rpartition("/")[2]
    name = _readable(name.rpartition(".")[0] or name) or "video"
    return check_video_key(f"generic-{name}.{_digest(canonical_url(url))}")


def key_of_refused(text: str) -> str:
    """Return the key of something that was listed as a video, and whose address cannot be taken."""
    return check_video_key(f"generic-refused.{_digest(text)}")


def is_direct_video_url(url: str) -> bool:
    """Return whether the path ends like a video file."""
    return urllib.parse.urlsplit(url).path.lower().rpartition(".")[2] in DIRECT_EXTENSIONS
