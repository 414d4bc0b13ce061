"""Call the functions of all stages one after another, without Dagster, as a lower bound for orchestration.

python -m benchmarks.plain_loop PROJECT_FILE ROOT
"""

import sys
from pathlib import Path

from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.operations.deduplication.deduplicate_project import deduplicate_project
from data_miner_dagster.operations.detection.detect_project import detect_project
from data_miner_dagster.operations.downloading.download_videos import download_videos
from data_miner_dagster.operations.embedding.embed_frames import embed_frames
from data_miner_dagster.operations.extraction.extract_frames import extract_frames
from data_miner_dagster.operations.filtering.filter_project import filter_project
from data_miner_dagster.operations.opening import open_platform
from data_miner_dagster.operations.releasing.release_project import release_project
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster.operations.sourcing.registering import register_project_file


def main() -> None:
    """Take one project from its file to its release."""
    config, root = Path(sys.argv[1]), Path(sys.argv[2])
    platform = open_platform(root, config)
    project = register_project_file(platform, config).name
    list_sources(platform, project, force=True)
    keys = [row.key for row in find_videos(platform.database, project=project)]
    for process_videos in (download_videos, extract_frames, embed_frames):
        process_videos(platform, keys)
    for process_project in (filter_project, deduplicate_project, detect_project, release_project):
        process_project(platform, project)


if __name__ == "__main__":
    main()
