"""Store the versions of the stages that produced a project's results, for display. Fingerprints do not reveal them.

Belongs here: storing the versions. Does not belong here: the consequences of a new version (stages/upgrading.py).
"""

import json

from data_miner_dagster.domain.versions import FIRST_BUILD_VERSIONS
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.storage.atomic import write_json


def read_stage_versions(platform: Platform, project: str) -> dict[str, int]:
    """Return the versions of the stages that made a project's results, by stage.

    If none is stored for a stage, its version in package 0.1.0 is returned.
    """
    return {**FIRST_BUILD_VERSIONS, **_kept(platform, project)}


def record_stage_versions(platform: Platform, project: str, **versions: int) -> None:
    """Store the versions of the stages that made a project's results. The caller must hold the project's claim."""
    kept = _kept(platform, project)
    if {**kept, **versions} != kept:
        write_json(platform.layout.stage_versions(project), {**kept, **versions})


def _kept(platform: Platform, project: str) -> dict[str, int]:
    try:
        content = json.loads(platform.layout.stage_versions(project).read_text(encoding="utf-8"))
        return {str(stage): int(version) for stage, version in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # missing or damaged, but informative only
        return {}
