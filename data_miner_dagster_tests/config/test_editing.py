"""Writing settings into the text of a project file changes nothing else in it."""

import pytest

from data_miner_dagster.config.editing import one_line_yaml, with_settings
from data_miner_dagster.domain.errors import ConfigError

FILE = """\
# mine
name: pets
filtering:
  # what I want
  positive:
    - a cat   # the cat
    - {text: a dog, threshold: 0.2}

  # an afterthought
  positive_threshold: 0.3  # old
detection: {classes: {cat: []}}
"""


def test_with_settings__a_value_is_replaced_and_everything_else_stays() -> None:
    changed = with_settings(FILE, "filtering", {"positive_threshold": {"lite-conse": 0.32}})
    assert changed == FILE.replace("0.3  # old", "{lite-conse: 0.32}  # old")


def test_with_settings__a_list_over_several_lines() -> None:
    prompts = [{"text": "a cat"}, {"text": "a dog", "threshold": {"axis": 0.25}}]
    changed = with_settings(FILE, "filtering", {"positive": prompts})
    assert "  positive:\n    [{text: a cat}, {text: a dog, threshold: {axis: 0.25}}]\n\n  # an aft" in changed


def test_with_settings__a_new_one() -> None:
    changed = with_settings(FILE, "filtering", {"junk_threshold": {"axis": 0.5}})
    assert changed == FILE.replace("  positive:", "  junk_threshold: {axis: 0.5}\n  positive:")
    flow = with_settings(FILE, "detection", {"min_size": 3})
    assert flow == FILE.replace("{classes", "{min_size: 3, classes")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: pets\n", "no section `filtering`"),
        ("", "no section"),
        ("filtering: {}\n", "is empty"),
        ("filtering: [a\n", "cannot be changed"),
        ("filtering: {positive_threshold: &t 0.3, other: *t}\n", "cannot be changed"),
        ("base: &b {positive_threshold: 0.3}\nfiltering:\n  <<: *b\n  positive: [a]\n", None),
    ],
)
def test_with_settings__files_that_are_left_alone(text: str, message: str | None) -> None:
    if message is None:  # a mapping's own key wins over a merged one
        assert "  positive_threshold: 0.5\n" in with_settings(text, "filtering", {"positive_threshold": 0.5})
        return
    with pytest.raises(ConfigError, match=message):
        with_settings(text, "filtering", {"positive_threshold": 0.5})


def test_one_line_yaml__values() -> None:
    assert one_line_yaml(0.5) == "0.5"
    assert one_line_yaml({"a b": [1, "yes"]}) == "{a b: [1, 'yes']}"
