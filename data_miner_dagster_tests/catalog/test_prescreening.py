from data_miner_dagster.catalog.database import Database
from data_miner_dagster.catalog.prescreening import PictureScore, read_scores, save_score
from data_miner_dagster_tests.support.catalog import add_project


def test_read_scores__none(database: Database) -> None:
    assert read_scores(database, "bikes", "f") == {}


def test_save_score__in_place_of_an_earlier_one(database: Database) -> None:
    add_project(database, "bikes")
    first, second = PictureScore(0.25, "a bicycle", 1), PictureScore(0.5, "a tram", 4)
    save_score(database, "bikes", "urls-a", first, "old prompts")
    assert read_scores(database, "bikes", "old prompts") == {"urls-a": first}
    save_score(database, "bikes", "urls-a", second, "new prompts")
    assert read_scores(database, "bikes", "old prompts") == {}
    assert read_scores(database, "bikes", "new prompts") == {"urls-a": second}
