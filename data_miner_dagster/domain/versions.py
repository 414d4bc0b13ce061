"""The version of every stage. Raise it when the same input yields another result; the stage's output is then remade.

Versions are part of fingerprints, and each is its asset's `code_version` in Dagster.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SOURCING_VERSION: Final = 1
"""Not part of any fingerprint: sources are listed on a schedule."""

DOWNLOADING_VERSION: Final = 1
"""Not part of any fingerprint: downloaded files are kept."""

EXTRACTION_VERSION: Final = 6
"""Raise it when the same settings store other frames."""

EMBEDDING_VERSION: Final = 1
"""Not part of any fingerprint: the encoder's own fingerprint identifies its output."""

SCORING_VERSION: Final = 1
"""Raise it when the same embeddings yield other similarities."""

FILTERING_VERSION: Final = 1
"""Raise it when the same similarities yield other decisions."""

DEDUPLICATION_VERSION: Final = 4
"""Raise it when the same vectors yield other groups, or another table."""

DETECTION_VERSION: Final = 1
"""Raise it when the same detector, frames and settings yield other boxes."""

TRACKING_VERSION: Final = 1
"""Raise it when the same boxes along a video yield other tracks. Part of fingerprints where objects are followed."""

RELEASING_VERSION: Final = 4
"""Raise it when the same tables yield other bytes."""

TRAINING_VERSION: Final = 1
"""Raise it when the same release and settings train another student."""

REPORT_VERSION: Final = 5
"""Raise it when the page changes: the reports of existing releases are then rewritten."""

BUILD_VERSIONS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "scoring": SCORING_VERSION,
        "filtering": FILTERING_VERSION,
        "deduplication": DEDUPLICATION_VERSION,
        "detection": DETECTION_VERSION,
        "releasing": RELEASING_VERSION,
        "report": REPORT_VERSION,
    }
)
"""The versions of the stages that build a project."""

FIRST_BUILD_VERSIONS: Final[Mapping[str, int]] = MappingProxyType(
    {"scoring": 1, "filtering": 1, "deduplication": 2, "detection": 1, "releasing": 2, "report": 2}
)
"""The versions of these stages in package version 0.1.0, which did not store any."""
