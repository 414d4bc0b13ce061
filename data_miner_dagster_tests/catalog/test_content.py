from data_miner_dagster.catalog.content import SimilarVideo, first_of_same_bytes, of_like_duration
from data_miner_dagster.catalog.database import Database
from data_miner_dagster_tests.support.catalog import FOUND_AT, add_video


def test_first_of_same_bytes__the_oldest_other_that_is_no_copy_of_it(database: Database) -> None:
    with database.reading() as session:
        assert first_of_same_bytes(session, "urls-a", "1" * 64) is None
    add_video(database, "urls-a", sha256="1" * 64, created_at=FOUND_AT)
    add_video(database, "urls-b", sha256="1" * 64, created_at=FOUND_AT, duplicate_of="urls-a")
    add_video(database, "urls-c", sha256="1" * 64, created_at=FOUND_AT)
    add_video(database, "urls-d", sha256="2" * 64, created_at=FOUND_AT)
    with database.reading() as session:
        assert first_of_same_bytes(session, "urls-c", "1" * 64) == SimilarVideo("urls-a", None)
        assert first_of_same_bytes(session, "urls-a", "1" * 64) == SimilarVideo("urls-c", None)
        assert first_of_same_bytes(session, "urls-d", "2" * 64) is None


def test_of_like_duration__both_ends_included_without_those_of_no_fingerprint(database: Database) -> None:
    for key, seconds, fingerprint in (
        ("urls-a", 9.0, "fa"),
        ("urls-b", 11.0, "fb"),
        ("urls-c", 11.5, "fc"),
        ("urls-d", 10.0, None),
    ):
        add_video(database, key, duration_seconds=seconds, content_fingerprint=fingerprint, created_at=FOUND_AT)
    with database.reading() as session:
        found = list(of_like_duration(session, "urls-d", shortest_seconds=9.0, longest_seconds=11.0))
        assert found == [(SimilarVideo("urls-a", None), "fa"), (SimilarVideo("urls-b", None), "fb")]
        assert list(of_like_duration(session, "urls-d", shortest_seconds=20, longest_seconds=30)) == []
