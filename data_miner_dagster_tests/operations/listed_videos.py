"""List addresses as a project's sources."""

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.support.local_projects import add_project


def listed(platform: Platform, urls: list[str]) -> list[str]:
    add_project(platform, [{"type": "urls", "urls": urls}])
    list_sources(platform, "p", force=True)
    by_url = {video.url: video.key for video in find_videos(platform.database)}
    return [by_url[url] for url in urls]
