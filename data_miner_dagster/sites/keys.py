"""Derive video keys that are unique and safe as file names and partition keys."""

import hashlib
import re
import urllib.parse
from typing import Final

from anyascii import anyascii

from data_miner_dagster.domain.keys import OBJECT_PREFIX, check_video_key
from data_miner_dagster.domain.object_urls import ObjectUrl

_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_MAX_READABLE: Final = 60
DIRECT_EXTENSIONS: Final = frozenset(
    ["3gp", "avi", "flv", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "ts", "webm", "wmv"]
)
"""A URL whose path has one of these extensions is treated as a video file and listed without a request."""


def readable_part(name: str) -> str:
    """Convert a name in any script to at most 60 characters that a key may contain. The result may be empty."""
    return _readable(anyascii(name))


def _readable(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:_MAX_READABLE].strip("-")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def key_of_site_video(extractor: str, video_id: str) -> str:
    """Return `<extractor>-<id>`, with a hash of the id if the id is not safe to use unchanged.

    The hash follows a ".", and ids that contain a "." are never used unchanged, so different ids have different keys.

    Raises:
        ConfigError: `extractor` cannot be part of a key.
    """
    site = re.sub(r"[^a-z0-9]+", "_", extractor.lower()).strip("_")
    if _SAFE_ID.fullmatch(video_id):
        return check_video_key(f"{site}-{video_id}")
    return check_video_key(f"{site}-{_readable(video_id)}.{_digest(video_id)}")


def order_of_asking(video_key: str) -> tuple[str, str, str]:
    """Return the sort key for requesting videos: by site, then by the hash in the key, or by the key if it has no hash.

    Videos with similar names often have the same origin and the same damage. If they were requested consecutively,
    their failures would look like a refusal by the whole site (stages/downloading/site_health.py).
    """
    return video_key.partition("-")[0], video_key.rpartition(".")[2], video_key


def site_of_key(video_key: str) -> str | None:
    """Return the first part of a key: a site, or `file`, `frames` or `object`. Return None if it is `generic`."""
    extractor = video_key.partition("-")[0]
    return None if extractor == "generic" else extractor


def canonical_url(url: str) -> str:
    """Return a URL normalized for comparison: scheme and host in lower case, without user, default port or fragment."""
    parts = urllib.parse.urlsplit(url.strip())
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    default_port = {"http": 80, "https": 443}.get(parts.scheme.lower())
    if parts.port is not None and parts.port != default_port:
        host = f"{host}:{parts.port}"
    return urllib.parse.urlunsplit((parts.scheme.lower(), host, parts.path or "/", parts.query, ""))


def key_of_url(url: str) -> str:
    """Return `generic-<readable name>.<hash of the canonical URL>`. The generic extractor's ids are not unique."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rstrip("/").rpartition("/")[2]
    name = _readable(name.rpartition(".")[0] or name) or "video"
    return check_video_key(f"generic-{name}.{_digest(canonical_url(url))}")


def key_of_refused(text: str) -> str:
    """Return a key derived from `text`, for a listed entry that is unreadable or has an unacceptable address."""
    return check_video_key(f"generic-refused.{_digest(text)}")


def key_of_object(url: ObjectUrl) -> str:
    """Return `object-<readable name>.<hash of the address>`. Replacing the object does not change the key."""
    name = _readable(url.name.rpartition(".")[0] or url.name) or "video"
    return check_video_key(f"{OBJECT_PREFIX}{name}.{_digest(url.text)}")


def is_direct_video_url(url: str) -> bool:
    """Return whether the path of a URL has the extension of a video file."""
    return urllib.parse.urlsplit(url).path.lower().rpartition(".")[2] in DIRECT_EXTENSIONS
