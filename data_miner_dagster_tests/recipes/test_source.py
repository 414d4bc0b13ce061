"""Follow `How to add a source`: `daily_feeds` lists the feeds of sites that have one at a known path."""

from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.recipes.following import follow, unnamed_files

CHANGES: Final = {
    "config/sourcing.py": {
        "Source = Annotated[\n": '''class DailyFeedsSource(ConfigModel):
    """Sites that keep a feed of the day's videos."""

    type: Literal["daily_feeds"]
    sites: _Urls
    """Their addresses, without the feed's."""
    max_results: int | None = Field(default=None, ge=1)
    """Of each site, from its feed's beginning."""


Source = Annotated[
''',
        "    | FeedsSource,\n": "    | FeedsSource\n    | DailyFeedsSource,\n",
    },
    "sites/queries.py": {
        "def channel_address(": '''def daily_feed_address(site: str) -> str:
    """Return the address of a site's feed of the day."""
    return f"{site.rstrip('/')}/today.xml"


def channel_address(''',
    },
    "operations/sourcing/queries.py": {
        "    ChannelsSource,\n    FeedsSource,\n": "    ChannelsSource,\n    DailyFeedsSource,\n    FeedsSource,\n",
        "import channel_address, hashtag_address": "import channel_address, daily_feed_address, hashtag_address",
        "        case ChannelsSource():\n": """        case DailyFeedsSource():
            for site in source.sites:
                yield _address(source.type, site, daily_feed_address(site), ListingLimits(source.max_results))
        case ChannelsSource():
""",
    },
}

USED: Final = """
from sqlalchemy import select

from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.schema import SourceListingRow
from data_miner_dagster.config.reference import reference_text
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.sites.hostile_server import hostile_server, page
from data_miner_dagster_tests.support.local_projects import add_project, make_platform

ITEM = "<item><title>{0}</title><link>{1}/{0}.mp4</link></item>"
if __name__ == "__main__":
    platform = make_platform(tmp_path / "root")
    with hostile_server() as server:
        items = "".join(ITEM.format(name, server.url("/clips")) for name in ("one", "two", "three"))
        feed = f'<?xml version="1.0"?><rss version="2.0"><channel><title>today</title>{items}</channel></rss>'
        server.add("/good/today.xml", page(feed, kind="application/rss+xml"))
        good, gone = server.url("/good"), server.url("/gone")
        source = {"type": "daily_feeds", "sites": [good, gone], "max_results": 2}
        listed = list_sources(platform, add_project(platform, [source]))
    assert (listed.counts["members"], listed.counts["failed_sources"]) == (2, 1), listed
    members = find_members(platform.database, "p")
    assert {(member.source, member.query, member.rank) for member in members} == {
        ("daily_feeds", good, 0), ("daily_feeds", good, 1)
    }
    with platform.database.reading() as session:
        rows = {row.query: row for row in session.scalars(select(SourceListingRow))}
    assert rows[good].error is None and rows[good].num_found == 2
    assert "404" in rows[gone].error, rows[gone].error
    assert "### `sourcing.sources[] (type: daily_feeds)`" in reference_text()
"""


@pytest.mark.slow
def test_recipe_of_a_source__what_it_names_is_enough(tmp_path: Path) -> None:
    follow(tmp_path, {}, CHANGES, USED)


def test_recipe_of_a_source__names_every_file() -> None:
    assert unnamed_files("How to add a source", CHANGES) == []
