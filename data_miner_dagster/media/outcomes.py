"""Define the result of probing a file, for code that must not import PyAV or OpenCV."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProbedVideo:
    """The verified properties of a video file.

    `duration_seconds` is the header's duration if the packets agree with it, otherwise the duration measured from the
    packets.
    """

    duration_seconds: float
    width: int
    height: int
    codec: str
    container: str
    content_fingerprint: str | None  # hashes of two pictures, or None if one is unavailable or too flat
