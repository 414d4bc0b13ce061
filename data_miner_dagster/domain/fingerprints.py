"""Fingerprints: strings that differ if the inputs of a result have changed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_CHUNK_BYTES: Final = 1 << 20


def fingerprint_of(parts: Mapping[str, object]) -> str:
    """Return 32 hex digits that depend on every name and value in `parts`, but not on their order.

    Values must be JSON-serializable (pydantic: `model_dump(mode="json")`).

    Raises:
        TypeError: a value is not JSON-serializable.
        ValueError: a number is infinite or NaN.
    """
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def embeddings_fingerprint_of(frames_fingerprint: str, encoder_fingerprint: str) -> str:
    """Return the fingerprint that an encoder's embeddings of a video's frames must have to be current."""
    return fingerprint_of({"frames": frames_fingerprint, "encoder": encoder_fingerprint})


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file's bytes in lower-case hex. The file is read in chunks.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
