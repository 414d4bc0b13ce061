from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.releases import add_release, find_releases, num_released_videos
from data_miner_dagster.catalog.schema import ReleaseRow


def test_add_release__same_version_twice_is_one(database: Database) -> None:
    for _ in range(2):
        with database.transaction() as session:
            add_release(
                session, ReleaseRow(project_name="bikes", version="v1", fingerprint="f", num_images=1, num_boxes=2)
            )
    assert [row.version for row in find_releases(database, "bikes")] == ["v1"]


def test_num_released_videos__of_the_latest_release(database: Database) -> None:
    assert num_released_videos(database, "bikes") == 0
    for version, num_videos in (("v1", 3), ("v2", 2)):
        with database.transaction() as session:
            add_release(
                session,
                ReleaseRow(
                    project_name="bikes",
                    version=version,
                    fingerprint="f",
                    num_videos=num_videos,
                    num_images=1,
                    num_boxes=2,
                ),
            )
    assert num_released_videos(database, "bikes") == 2
