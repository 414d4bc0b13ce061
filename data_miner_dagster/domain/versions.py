"""The versions of the stages. If a stage begins to yield a different result for the same input, raise its version.

Most versions are part of fingerprints, so raising one of these recreates the outputs. All except TRACKING_VERSION are
also part of the `code_version` of an asset in Dagster.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SOURCING_VERSION: Final = 1
"""Not part of any fingerprint, because sources are listed on a schedule."""

DOWNLOADING_VERSION: Final = 1
"""Not part of any fingerprint, because downloaded files are kept."""

EXTRACTION_VERSION: Final = 6
"""Raise this version when the same settings store different frames."""

EMBEDDING_VERSION: Final = 1
"""Not part of any fingerprint, because the encoder's own fingerprint identifies its output."""

SCORING_VERSION: Final = 1
"""Raise this version when the same embeddings yield different similarities."""

FILTERING_VERSION: Final = 1
"""Raise this version when the same similarities yield different decisions."""

DEDUPLICATION_VERSION: Final = 4
"""Raise this version when the same vectors yield different groups or a different table."""

DETECTION_VERSION: Final = 1
"""Raise this version when the same detector, frames and settings yield different boxes."""

TRACKING_VERSION: Final = 3
"""Raise this version when the same boxes of a video yield different tracks.

Part of fingerprints if objects are followed.
"""

RELEASING_VERSION: Final = 5
"""Raise this version when the same tables yield different bytes."""

TRAINING_VERSION: Final = 1
"""Raise this version when training on the same release with the same settings yields a different student."""

REPORT_VERSION: Final = 7
"""Raise this version when the page of the report changes. The reports of existing releases are then rewritten."""

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
"""The versions of the stages in `BUILD_VERSIONS` as of package version 0.1.0, which did not store versions."""
