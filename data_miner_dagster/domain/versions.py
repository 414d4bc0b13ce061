"""The version of every stage. Raise one when the same input gives another result, and what it made is made again.

Versions are part of fingerprints, and each asset's `code_version` in Dagster.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SOURCING_VERSION: Final = 1
"""Part of no fingerprint: sources are listed by the clock."""

DOWNLOADING_VERSION: Final = 1
"""Part of no fingerprint: what was downloaded stays."""

EXTRACTION_VERSION: Final = 6
"""Raise it when the same settings store other frames."""

EMBEDDING_VERSION: Final = 1
"""Part of no fingerprint: the encoder's own says what it gives."""

SCORING_VERSION: Final = 1
"""Raise it when the same embeddings give other similarities."""

FILTERING_VERSION: Final = 1
"""Raise it when the same similarities give other decisions."""

DEDUPLICATION_VERSION: Final = 3
"""Raise it when the same vectors give other groups, or another table."""

DETECTION_VERSION: Final = 1
"""Raise it when the same detector, frames and settings give other boxes."""

RELEASING_VERSION: Final = 3
"""Raise it when the same tables give other bytes."""

REPORT_VERSION: Final = 3
"""Raise it when the page changes: the reports of standing releases are written again."""

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
"""Of the stages that build a project."""

FIRST_BUILD_VERSIONS: Final[Mapping[str, int]] = MappingProxyType(
    {"scoring": 1, "filtering": 1, "deduplication": 2, "detection": 1, "releasing": 2, "report": 2}
)
"""Of the same stages in version 0.1.0 of the package, which kept none."""
