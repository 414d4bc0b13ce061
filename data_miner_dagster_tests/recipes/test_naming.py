"""Check that every path and name in CONTRIBUTING.md and in the tables *Where what lives* exists."""

from pathlib import Path

import pytest

from data_miner_dagster.catalog.migrations import head_revision
from data_miner_dagster_tests.recipes.following import PACKAGE, REPOSITORY
from data_miner_dagster_tests.recipes.naming import broken_links, missing_modules, named_files, problems, sections

DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
CHECKED = "Adding an? .*|Where what lives"
STAGES = [
    path.stem
    for path in sorted((REPOSITORY / PACKAGE / "assets").glob("*.py"))
    if (REPOSITORY / PACKAGE / "operations" / path.stem).is_dir()
]
PAGES = {"embedding": "models.md", "releasing": "releases.md"}
"""The pages that are not named after their stage."""


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_contributing__what_it_names_exists() -> None:
    text = read(REPOSITORY / "CONTRIBUTING.md")
    (stage,) = sections(text, "How to add a stage of a project")
    assert problems(stage, imagined="linking") == []
    assert problems(text.replace(stage, "")) == []


def test_architecture__what_it_names_exists() -> None:
    assert problems(read(REPOSITORY / "docs" / "architecture.md")) == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_docs__what_they_say_lives_somewhere_does(path: Path) -> None:
    assert [problem for section in sections(read(path), CHECKED) for problem in problems(section)] == []


def test_upgrading__shows_the_newest_revision_of_the_catalog() -> None:
    assert f"was migrated from revision 0002 to {head_revision()};" in read(REPOSITORY / "docs" / "upgrading.md")


def test_package__every_module_that_a_docstring_or_comment_names_exists() -> None:
    assert missing_modules(REPOSITORY / PACKAGE) == {}


def test_missing_modules__by_hand(tmp_path: Path) -> None:
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms" / "door.py").write_text(
        '"""See `window.py` (door.py, rooms/door.py)."""\n\nSIZE = "text.py"  # as roofs/door.py says\n'
    )
    assert missing_modules(tmp_path) == {"rooms/door.py": ["window.py", "roofs/door.py"]}
    (tmp_path / "window.py").write_text('def open_it():\n    """Opens rooms/door.py and door.py."""\n')
    assert missing_modules(tmp_path) == {"rooms/door.py": ["roofs/door.py"], "window.py": ["door.py"]}


def test_stages__are_eight_at_least() -> None:
    assert {"sourcing", "downloading", "extraction", "embedding"} < set(STAGES)
    assert len(STAGES) >= 8


@pytest.mark.parametrize("word", STAGES)
def test_docs__each_stage_says_where_everything_of_it_lives(word: str) -> None:
    (table,) = sections(read(REPOSITORY / "docs" / PAGES.get(word, f"{word}.md")), "Where what lives")
    package = REPOSITORY / PACKAGE
    parts = [room / f"{word}.py" for room in (package / "assets", package / "asset_checks", package / "config")]
    parts += [path for room in ("stages", "operations") for path in (package / room).glob(f"{word}/[!_]*.py")]
    parts += [package / "stages" / f"{word}.py", REPOSITORY / f"{PACKAGE}_tests" / "operations" / word]
    found = named_files(table)
    missing = [path.relative_to(REPOSITORY).as_posix() for path in parts if path.exists() and path not in found]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Words, and a `plain word` of `pts_seconds`.", []),
        ("1. `config/sourcing.py`: a field of `RulesConfig`,\n   as `min_views`.", []),
        ("1. `config/sourcing.py`: a field of `RuleConfig`.", ["RuleConfig is not in config/sourcing.py"]),
        ("- `config/rules.py`", ["there is no config/rules.py"]),
        ("| `operations/extraction/folder.py`, `importing.py`, `nothing.py` | x |", ["there is no nothing.py"]),
        ("- `jobs.py: OP_BY_JOB`", []),
        ("- `media/probe.py`, `jobs.py: OP_BY_JOB`", []),
        (
            "- `operations/extraction/folder.py`, `jobs.py: OP_BY_JOB`",
            ["OP_BY_JOB is not in operations/extraction/folder.py, jobs.py"],
        ),
        ("- `operations/<stage>/check.py` and `assets/<stage>.txt.py`", ["there is no assets/<stage>.txt.py"]),
        ("- `media/pictures.py: not_there`", ["not_there is not in media/pictures.py"]),
        ("- `models/`: `ARCHITECTURES`\n- `media/`: `ARCHITECTURES`", ["ARCHITECTURES is not in media/"]),
        ("`projects/<name>/filtered.parquet`, `sifted.parquet`", ["sifted.parquet is not in any file"]),
        ("`make check`, `make VENV=/some/where test`, `make coffee`", ["there is no make coffee"]),
        ("```sh\n`config/rules.py`\n```", []),
        ("| `BUILT_IN` of `models/registry.py`, `ARCHITECTURES` in `models/architectures.py` | x |", []),
        ("Its line in `ARCHITECTURES` of `models/registry.py`", ["ARCHITECTURES is not defined in models/registry.py"]),
    ],
)
def test_problems__by_hand(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_pages__every_link_leads_somewhere() -> None:
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    assert len(pages) > 20
    assert {page.name: links for page in pages if (links := broken_links(page))} == {}


def test_broken_links__by_hand(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `word`, and two\n[a](#one-word-and-two) [b](#none) [c](page.md#none) [d](x.md) [e](https://x)"
    )
    assert broken_links(page) == ["#none", "page.md#none", "x.md"]


def test_problems__of_an_example() -> None:
    text = "1. `config/linking.py` works inside `project_stage`, and `LINKING` in `no_such_name`."
    assert problems(text, imagined="linking") == ["no_such_name is not in any file"]
