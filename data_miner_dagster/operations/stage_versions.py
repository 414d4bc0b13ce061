"""Which version of each stage a project's tables and release were made by: no fingerprint tells, and people ask.

Belongs here: keeping it. Does not belong here: what follows where a version has been raised (stages/upgrading.py).
"""

import json

from data_miner_dagster.domain.versions import FIRST_BUILD_VERSIONS
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import write_json


def read_stage_versions(platform: Platform, project: str) -> dict[str, int]:
    """Return the version of each stage that made what the project has; those of 0.1.0 where none is kept."""
    return {**FIRST_BUILD_VERSIONS, **_kept(platform, project)}


def record_stage_versions(platform: Platform, project: str, **versions: int) -> None:
    """Keep that what the project has of these stages is of these versions. Needs the project's claim."""
    kept = _kept(platform, project)
    if {**kept, **versions} != kept:
        write_json(platform.layout.stage_versions(project), {**kept, **versions})


def _kept(platform: Platform, project: str) -> dict[str, int]:
    try:
        content = json.loads(platform.layout.stage_versions(project).read_text(encoding="utf-8"))
        return {str(stage): int(version) for stage, version in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # not there, or damaged: a note, no more
        return {}
