"""What looking at a file comes to, for those who have it looked at: imports neither PyAV nor OpenCV."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProbedVideo:
    """What a file proved to be. `duration_seconds` is from the header where the packets agree, or from the packets."""

    duration_seconds: float
    width: int
    height: int
    codec: str
    container: str
    content_fingerprint: str | None  # of two pictures; None where they show too little to tell videos apart
