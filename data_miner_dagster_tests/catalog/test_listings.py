from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.listings import (
    ListingResult,
    forget_listings,
    queries_listed_well,
    record_listings,
    remarkable_listings,
)
from data_miner_dagster_tests.support.catalog import add_project

GOOD = ListingResult("urls", "good", 3, None, None)
FAILED = ListingResult("feeds", "failed", None, "HTTP 503", None)
PASSED_OVER = ListingResult("files", "folder", 2, None, "1 that is no video")


def remarkable(database: Database) -> list[tuple[str, int | None, str | None, str | None]]:
    return [(row.query, row.num_found, row.error, row.passed_over) for row in remarkable_listings(database, "bikes")]


def test_listings__empty(database: Database) -> None:
    assert queries_listed_well(database, "bikes") == set()
    assert remarkable(database) == []


def test_record_listings__the_last_one_counts(database: Database) -> None:
    add_project(database, "bikes")
    with database.transaction() as session:
        record_listings(session, "bikes", [GOOD, FAILED, PASSED_OVER])
    assert queries_listed_well(database, "bikes") == {("urls", "good"), ("files", "folder")}
    assert remarkable(database) == [("failed", None, "HTTP 503", None), ("folder", 2, None, "1 that is no video")]
    with database.transaction() as session:
        record_listings(session, "bikes", [ListingResult("feeds", "failed", 7, None, None)])
    assert ("feeds", "failed") in queries_listed_well(database, "bikes")
    assert remarkable(database) == [("folder", 2, None, "1 that is no video")]


def test_forget_listings__what_is_asked_no_more(database: Database) -> None:
    add_project(database, "bikes")
    with database.transaction() as session:
        record_listings(session, "bikes", [GOOD, FAILED, PASSED_OVER])
        forget_listings(session, "bikes", {("files", "folder")}, is_complete=False)
    assert remarkable(database) == [("folder", 2, None, "1 that is no video")]
    assert queries_listed_well(database, "bikes") == {("urls", "good"), ("files", "folder")}  # a file may be unread
    with database.transaction() as session:
        forget_listings(session, "bikes", {("files", "folder")}, is_complete=True)
    assert queries_listed_well(database, "bikes") == {("files", "folder")}
