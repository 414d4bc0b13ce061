"""Follow `How to add a rule before download`: `shouting` rejects titles in capitals."""

from pathlib import Path
from typing import Final

import pytest

from data_miner_dagster_tests.recipes.following import follow, unnamed_files

CHANGES: Final = {
    "domain/reasons.py": {
        '    WORDS = "words"\n': '    SHOUTING = "shouting"\n    WORDS = "words"\n',
    },
    "config/sourcing.py": {
        "    required_words: tuple[str, ...] = ()\n": (
            '    reject_shouting: bool = False\n    """Videos with a title in capitals are rejected."""\n'
            "    required_words: tuple[str, ...] = ()\n"
        ),
    },
    "stages/sourcing.py": {
        "def _by_words(": """def _by_shouting(candidate: VideoCandidate, rules: RulesConfig) -> str | None:
    is_loud = rules.reject_shouting and (candidate.title or "").isupper()
    return f"title {candidate.title!r} is in capitals" if is_loud else None


def _by_words(""",
        "        (RejectionRule.WORDS, ": (
            "        (RejectionRule.SHOUTING, _by_shouting(candidate, rules)),\n        (RejectionRule.WORDS, "
        ),
    },
}

USED: Final = """
from data_miner_dagster.catalog.members import find_members
from data_miner_dagster.catalog.videos import find_videos
from data_miner_dagster.config.reference import reference_text
from data_miner_dagster.operations.reporting.funnel import FunnelStep, project_funnel
from data_miner_dagster.operations.sourcing.list_sources import list_sources
from data_miner_dagster_tests.support.local_projects import add_project, make_platform

clips = tmp_path / "clips"
clips.mkdir()
for name in ("A CAR", "a bus", "A Tram"):
    (clips / f"{name}.mp4").write_text(name)
platform = make_platform(tmp_path / "root")
source = {"type": "files", "paths": [str(clips)]}
for name, rules, reason in (
    ("loud", {}, None), ("quiet", {"reject_shouting": True}, "shouting: title 'A CAR' is in capitals")
):
    listed = list_sources(platform, add_project(platform, [source], name=name, rules=rules))
    assert listed.counts["members"] == (2 if reason else 3), listed.counts
    assert listed.counts.get("rejected_shouting") == (1 if reason else None), listed.counts
    titles = {video.key: video.title for video in find_videos(platform.database)}
    reasons = {titles[member.video_key]: member.reason for member in find_members(platform.database, name)}
    assert reasons == {"A CAR": reason, "a bus": None, "A Tram": None}, reasons
assert project_funnel(platform, "quiet")[FunnelStep.VIDEOS].lost == {"shouting": 1}
assert "| `sourcing.rules.reject_shouting` |" in reference_text()
"""


@pytest.mark.slow
def test_recipe_of_a_rule__what_it_names_is_enough(tmp_path: Path) -> None:
    follow(tmp_path, {}, CHANGES, USED)


def test_recipe_of_a_rule__names_every_file() -> None:
    assert unnamed_files("How to add a rule before download", CHANGES) == []
