"""Compute the cost of a project from the catalog."""

from data_miner_dagster.catalog.database import Session
from data_miner_dagster.catalog.measurements import count_sharing, spent_by_stage_in
from data_miner_dagster.catalog.releases import find_releases
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.stages.costs import Cost


def cost_of(session: Session, project: str, num_images: int, num_boxes: int) -> Cost:
    """Return the cost of a project so far, with the counts needed to compute the cost per image and per box."""
    num_videos, num_projects = count_sharing(session, project)
    return Cost(spent_by_stage_in(session, project), num_images, num_boxes, num_videos, num_projects)


def project_cost(platform: Platform, project: str) -> Cost:
    """Return the cost of a project so far, with the counts of images and boxes in its latest release.

    The counts are 0 if there is no release.

    Raises:
        ConfigError: the project does not exist.
    """
    platform.project_config(project)
    releases = find_releases(platform.database, project)
    latest = releases[-1] if releases else None
    with platform.database.reading() as session:
        return cost_of(session, project, latest.num_images if latest else 0, latest.num_boxes if latest else 0)
