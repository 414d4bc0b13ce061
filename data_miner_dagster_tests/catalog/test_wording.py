from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.holds import find_holds, hold_items
from data_miner_dagster.catalog.listings import ListingResult, queries_listed_well, record_listings, remarkable_listings
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.videos import find_video
from data_miner_dagster.catalog.wording import reword_listings, reword_what_names
from data_miner_dagster_tests.support.catalog import add_project, add_video


def shown(text: str) -> str:
    return text.replace("s3cret", "{env:TOKEN}")


def test_reword_listings__of_one_project(database: Database) -> None:
    for name in ("bikes", "trams"):
        add_project(database, name)
        add_video(database, f"urls-{name}", name, reason="channel: s3cret")
        with database.transaction() as session:
            record_listings(session, name, [ListingResult("urls", "u?t=s3cret", 1, None, None)])
            record_listings(session, name, [ListingResult("feeds", "f", None, "s3cret: HTTP 401", None)])
    reword_listings(database, "bikes", shown)
    assert [member.reason for member in find_members(database, "bikes")] == ["channel: {env:TOKEN}"]
    assert [member.reason for member in find_members(database, "trams")] == ["channel: s3cret"]
    assert [row.error for row in remarkable_listings(database, "bikes")] == ["{env:TOKEN}: HTTP 401"]
    assert queries_listed_well(database, "bikes") == set()  # listed again, under its new name
    assert queries_listed_well(database, "trams") == {("urls", "u?t=s3cret")}


def test_reword_what_names__every_project_and_no_other_name(database: Database) -> None:
    add_project(database, "bikes")
    add_video(database, "urls-a", "bikes", error="urls-50%_b: gone", reason="like urls-50%_b")
    add_video(database, "urls-c", error="urls-50 or b: gone")
    with database.transaction() as session:
        record_listings(session, "bikes", [ListingResult("urls", "urls-50%_b", 1, None, None)])
        record_listings(session, "bikes", [ListingResult("urls", "another", 1, None, None)])
    hold_items(database, project="bikes", reason="urls-50%_b is private")
    with database.transaction() as session:
        reword_what_names(session, "urls-50%_b", lambda text: text.replace("urls-50%_b", "one"))
    found = [find_video(database, key) for key in ("urls-a", "urls-c")]
    assert [video and video.error for video in found] == ["one: gone", "urls-50 or b: gone"]
    assert [member.reason for member in find_members(database, "bikes")] == ["like one"]
    assert [row.reason for row in find_holds(database)] == ["one is private"]
    assert queries_listed_well(database, "bikes") == {("urls", "another")}
