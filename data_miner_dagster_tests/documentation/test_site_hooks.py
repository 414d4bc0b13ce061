"""Tests that the site builds in strict mode, contains every page and loads nothing from other hosts.

These builds leave out the docstrings, which `make docs` adds.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from documentation.python_api import PACKAGE, ROOMS
from documentation.site_hooks import DOCS, PLACES, REPOSITORY, with_site_links

_LOADED = re.compile(r"<(?:script|img|iframe|source|video)\b[^>]*?\bsrc=\"?([^\s\">]+)|<link\b([^>]*)>")
_HREF = re.compile(r"\bhref=\"?([^\s\">]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "DOCS_WITH_PYTHON": "false"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_site__has_a_page_for_every_file(site: Path) -> None:
    sources = [path.relative_to(REPOSITORY / DOCS) for path in (REPOSITORY / DOCS).rglob("*.md")]
    assert len(sources) > 40
    places = [path.parent if path.name == "README.md" else path.with_suffix("") for path in sources]
    assert [place for place in places if not (site / place / "index.html").is_file()] == []
    assert "Five minutes" in (site / "index.html").read_text(encoding="utf-8")


def test_site__loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    assert {str(page): found for page in pages if (found := foreign(page.read_text(encoding="utf-8")))} == {}
    sheets = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert sheets
    assert [sheet for sheet in sheets if re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet)] == []


def test_rooms__have_modules_that_exist() -> None:
    modules = [
        REPOSITORY / PACKAGE / room / name.replace(".", "/") for room, (_, names) in ROOMS.items() for name in names
    ]
    assert len(modules) > 30
    assert [module for module in modules if not module.with_suffix(".py").is_file()] == []


def test_foreign__by_hand() -> None:
    assert foreign('<link rel="stylesheet" href="a.css"><img src="../a.png"><script src=b.js></script>') == []
    assert foreign('<link rel="canonical" href="https://a.b"><a href="https://a.b">x</a>') == []
    assert foreign('<link href="https://a.b/c.css" rel="stylesheet">') == ["https://a.b/c.css"]
    assert foreign('<img alt="x" src="//a.b/c.png"><script async src=http://a.b></script>') == [
        "//a.b/c.png",
        "http://a.b",
    ]


def foreign(page: str) -> list[str]:
    """Return the addresses on other hosts that a browser requests when it opens the page."""
    loaded = []
    for source, attributes in _LOADED.findall(page):
        if source:
            loaded.append(source)
        elif "canonical" not in attributes:
            loaded += _HREF.findall(attributes)
    return [address for address in loaded if re.match(r"(https?:)?//", address)]


@pytest.mark.parametrize(
    ("place", "link", "expected"),
    [
        ("index.md", "[a](docs/releases.md#splits)", "[a](releases.md#splits)"),
        ("index.md", "![a](docs/images/report.png)", "![a](images/report.png)"),
        ("index.md", '<img src="docs/images/report.png">', '<img src="images/report.png">'),
        (
            "index.md",
            "[a](LICENSE) [b](#there) [c](https://docs/x)",
            "[a](LICENSE.txt) [b](#there) [c](https://docs/x)",
        ),
        ("architecture.md", "[a](../CONTRIBUTING.md)", "[a](contributing.md)"),
        ("architecture.md", "[a](../data_miner_dagster/jobs.py)", "[a](../data_miner_dagster/jobs.py)"),
        ("deploy/ray.md", "[a](../../examples/demo.yaml)", "[a](../examples/demo.yaml)"),
        ("deploy/ray.md", "[a](../upgrading.md)", "[a](../upgrading.md)"),
        ("contributing.md", "[a\nb](docs/detection.md#adding-a-detector)", "[a\nb](detection.md#adding-a-detector)"),
    ],
)
def test_with_site_links__by_hand(place: str, link: str, expected: str) -> None:
    assert with_site_links(link, place) == expected


def test_places__exist() -> None:
    assert [source for source in PLACES if not (REPOSITORY / source).is_file()] == []
