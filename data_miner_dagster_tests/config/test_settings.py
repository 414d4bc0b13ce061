"""The settings of a project file are valid, or are refused with a remedy."""

from pathlib import Path

import pytest

from data_miner_dagster.config.loading import load_project_file
from data_miner_dagster.domain.errors import ConfigError

PROJECT = """\
name: bikes
sourcing:
  sources: [{type: files, paths: [clips]}]
filtering: {positive: [a bicycle]}
detection: {classes: {bicycle: []}}
"""


def problem_of(folder: Path, before: str, after: str) -> str:
    path = folder / "project.yaml"
    assert before in PROJECT
    path.write_text(PROJECT.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_project_file(path)
    message = str(raised.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def splits_problem(folder: Path, splits: str) -> str:
    return problem_of(folder, "name: bikes", f"name: bikes\nreleasing: {{splits: {splits}}}")


@pytest.mark.parametrize(
    "splits",
    [
        "{train: .8, val: .1, validation: .1}",
        "{train: .8, valid: .1, val: .1}",
        "{train: .8, training: .2}",
        "{train: .8, test: .1, Testing: .1}",
        "{train: .8, dev: .1, valid: .1}",
        "{train: .8, a: .1, A: .1}",
        "{train: .8, 'a ': .1, a: .1}",
    ],
)
def test_splits__names_that_meet_are_refused(tmp_path: Path, splits: str) -> None:
    assert "keep one" in splits_problem(tmp_path, splits)


def test_splits__other_names_stay(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text(PROJECT + "releasing: {splits: {train: .5, valid: .3, holdout: .2}}\n", encoding="utf-8")
    assert list(load_project_file(path).releasing.ordered_splits) == ["train", "holdout", "valid"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("[a bicycle]", "[no]", "filtering.positive.0 is False; it must be text: put it in quotes"),
        ("[a bicycle]", "[42]", "filtering.positive.0 is 42; it must be text: put it in quotes"),
        ("[a bicycle]", "[~]", "filtering.positive.0 is empty; it must be text: write the words of the prompt"),
        ("{bicycle: []}", "{null: []}", "detection.classes contains a name that is not text in YAML, such as null"),
        ("{bicycle: []}", "{no: []}", "detection.classes: the name false is not text in YAML; put it in quotes"),
        ("{bicycle: []}", "{' ': []}", "detection.classes: a name is empty; write one before the colon"),
        ("{bicycle: []}", "{1: []}", "detection.classes: the name 1 is not text in YAML; put it in quotes"),
        ("{bicycle: []}", "{bicycle: [7]}", "detection.classes.bicycle.0 is 7; it must be text: put it in quotes"),
        ("{bicycle: []}", "{bicycle: 7}", "detection.classes.bicycle is 7; it must be a list"),
        (
            "{bicycle: []}",
            "{'cat ': [], cat: [lion]}",
            "detection.classes: 'cat ' and 'cat' are the same name; keep one",
        ),
        (
            "{bicycle: []}",
            "{Cat: [tiger], cat: [lion]}",
            "detection.classes: 'Cat' and 'cat' are the same name; keep one",
        ),
        (
            "name: bikes",
            "name: bikes\nreleasing: {class_thresholds: {Bicycle: .9}}",
            "releasing.class_thresholds: 'Bicycle' is not in detection.classes; did you mean 'bicycle'?",
        ),
        (
            "name: bikes",
            "name: bikes\nreleasing: {class_thresholds: {bicycle: .9, 'bicycle ': .8}}",
            "releasing.class_thresholds: 'bicycle' and 'bicycle ' are the same name; keep one",
        ),
        (
            "name: bikes",
            "name: bikes\nreleasing: {class_unsure_from: {bycicle: .2}}",
            "releasing.class_unsure_from: 'bycicle' is not in detection.classes; did you mean 'bicycle'?",
        ),
        (
            "paths: [clips]}]",
            "paths: [clips]}]\n  rules: {published_after: 20240131}",
            "must be a date: write it as 2024-01-31",
        ),
        (
            "paths: [clips]}]",
            "paths: [clips]}]\n  rules: {published_after: 86400}",
            "must be a date: write it as 2024-01-01",
        ),
        (
            "paths: [clips]}]",
            "paths: [clips]}]\n  rules: {published_after: yes}",
            "must be a date: write it as 2024-01-01",
        ),
        (
            "paths: [clips]}]",
            "paths: [clips]}]\n  rules: {published_after: 1/2/2024}",
            "must be a date: write it as 2024-01-01",
        ),
        ("paths: [clips]}]", "paths: [clips]}]\n  rules: {min_duration_seconds: .inf}", "must be a finite number"),
        ("paths: [clips]}]", "paths: [clips]}]\n  rules: {languages: [no]}", "put it in quotes"),
        (
            "paths: [clips]}]",
            "paths: [clips]}]\n  rules: {published_after: 2024-02-01, published_before: 2024-01-01}",
            "sourcing.rules: published_after (2024-02-01) is not before published_before (2024-01-01), so every upload "
            "date is excluded; correct one of them",
        ),
        (
            "paths: [clips]}]",
            "paths: [clips]}]\n  rules: {published_after: 2024-02-01, published_before: 2024-02-01}",
            "published_after (2024-02-01) is not before published_before (2024-02-01)",
        ),
        (
            "{type: files, paths: [clips]}]",
            "{type: channels, urls: ['@a'], published_after: 2024-02-01, published_before: 2024-02-01}]",
            "published_after (2024-02-01) is not before published_before (2024-02-01)",
        ),
        (
            "{type: files, paths: [clips]}]",
            "{type: channels, urls: ['@a'], published_after: 2024-02-01}]\n  rules: {published_before: 2024-01-01}",
            "sourcing: sources.0.published_after (2024-02-01) is not before rules.published_before (2024-01-01)",
        ),
        (
            "{type: files, paths: [clips]}]",
            "{type: channels, urls: ['@a'], published_before: 2024-02-01}]\n  rules: {published_after: 2024-02-01}",
            "sourcing: rules.published_after (2024-02-01) is not before sources.0.published_before (2024-02-01)",
        ),
        (
            "paths: [clips]}]",
            "paths: [clips]}]\n  rules: {required_words: [Red  Bus], blocked_words: [red bus, car]}",
            "sourcing.rules: every word of required_words (Red  Bus) is also in blocked_words",
        ),
        (
            "name: bikes",
            "name: bikes\ndeduplication: {against_releases: [street]}",
            "'street' is not the name of a release; write project/version, such as street/v001",
        ),
        (
            "name: bikes",
            "name: bikes\ndeduplication: {against_releases: [street/v 1]}",
            "the version 'v 1' is not valid; write one such as v001",
        ),
    ],
)
def test_words_that_yaml_types__are_refused_with_the_remedy(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    assert expected in problem_of(tmp_path, before, after)


_INVISIBLE = "the invisible character U+202E (right-to-left override), which changes how it reads; remove it"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("{bicycle: []}", '{"bi\\u202ecycle": []}', r"detection.classes: the name 'bi\u202ecycle' contains "),
        ("{bicycle: []}", "{bi?cycle: []}", r"detection.classes: the name 'bi\u202ecycle' contains "),
        ("{bicycle: []}", "{bicycle: [bi?ke]}", r"detection.classes.bicycle.0 is 'bi\u202eke': the text contains "),
        ("[a bicycle]", "[a bi?cycle]", r"filtering.positive.0 is 'a bi\u202ecycle': the text contains "),
        (
            "{positive: [a bicycle]}",
            "{positive: [a bicycle], templates: ['a ?{}']}",
            r"filtering.templates.0 is 'a \u202e{}': the text contains ",
        ),
        ("name: bikes", "name: bikes\ndescription: of ?many", r"description is 'of \u202emany': the text contains "),
        (
            "{type: files, paths: [clips]}",
            "{type: search, queries: [bi?kes]}",
            r"sourcing.sources.0.queries.0 is 'bi\u202ekes': the text contains ",
        ),
    ],
)
def test_invisible_characters__are_refused_where_people_read(
    tmp_path: Path, before: str, after: str, expected: str
) -> None:
    assert problem_of(tmp_path, before, after.replace("?", "\u202e")) == expected + _INVISIBLE


@pytest.mark.parametrize(
    "code", [0x061C, 0x200E, 0x200F, 0x202A, 0x2066, 0x2069, 0x200B, 0x00AD, 0x2060, 0xFEFF, 0xE0041]
)
def test_invisible_characters__of_each_kind(tmp_path: Path, code: int) -> None:
    problem = problem_of(tmp_path, "{bicycle: []}", f'{{"bi{chr(code)}cycle": []}}')
    assert f"contains the invisible character U+{code:04X} (" in problem
    assert problem.isprintable()


def test_invisible_characters__that_join_letters_stay(tmp_path: Path) -> None:
    """Persian words and many emoji need the invisible characters that join letters."""
    path = tmp_path / "project.yaml"
    path.write_text(
        PROJECT.replace("{bicycle: []}", "{\u0645\u06cc\u200c\u0634\u0648\u062f: [👩\u200d🚒]}"), encoding="utf-8"
    )
    assert list(load_project_file(path).project.detection.classes) == ["\u0645\u06cc\u200c\u0634\u0648\u062f"]


def test_project_name__with_an_invisible_character_is_shown_escaped(tmp_path: Path) -> None:
    assert r"project name 'bi\u202ekes' is not valid" in problem_of(tmp_path, "name: bikes", "name: bi\u202ekes")


@pytest.mark.parametrize(
    ("releasing", "expected"),
    [
        ("{unsure_from: .31}", "releasing.unsure_from is 0.31, above the threshold 0.3 of 'bicycle'; lower it"),
        (
            "{unsure_from: .2, class_unsure_from: {bicycle: .04}}",
            "releasing.class_unsure_from of 'bicycle' is 0.04, but boxes below detection.confidence_floor (0.05)",
        ),
    ],
)
def test_unsure_from__outside_of_what_is_stored_and_not_released(tmp_path: Path, releasing: str, expected: str) -> None:
    assert expected in problem_of(tmp_path, "name: bikes", f"name: bikes\nreleasing: {releasing}")


def test_class_thresholds__names_are_stripped_like_those_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text(
        PROJECT.replace("bicycle:", "'bicycle ':") + "releasing: {class_thresholds: {' bicycle': .9}}\n",
        encoding="utf-8",
    )
    assert load_project_file(path).releasing.threshold_of("bicycle") == 0.9


def test_days__as_iso_8601(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text(
        PROJECT.replace("paths: [clips]}]", "paths: [clips]}]\n  rules: {published_after: 2024-01-31}"),
        encoding="utf-8",
    )
    assert str(load_project_file(path).sourcing.rules.published_after) == "2024-01-31"
