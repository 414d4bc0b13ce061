"""Hooks of mkdocs for building the site (`hooks` in mkdocs.yml).

GitHub and the site show the same files. Pages of the repository's root get a place in the site, and links between the
two are rewritten for each place. A link to a file without a place ends the build.
"""

import posixpath
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from documentation.commands import commands_page
from documentation.messages import messages_section
from documentation.python_api import ROOMS, page_of, room_page, rooms_section

REPOSITORY: Final = Path(__file__).parents[1]
DOCS: Final = "docs"
PLACES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "LICENSE": "LICENSE.txt",
    "examples/any_words.yaml": "examples/any_words.yaml",
    "examples/demo.yaml": "examples/demo.yaml",
}
"""The place in the site of each file from outside docs/, by its path in the repository."""
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "cli.md": commands_page,
    **{page_of(room): partial(room_page, room) for room in ROOMS},
}
"""Pages that only the site has, because they change with the code. They are generated when the site is built."""
SECTIONS: Final[Mapping[str, Callable[[], str]]] = {
    "troubleshooting.md": messages_section,
    "python.md": rooms_section,
}
"""Functions that write a section for the end of a page."""
_SOURCES: Final = {place: source for source, place in PLACES.items()}
_DECISIONS: Final = "decisions/"
_LINK: Final = re.compile(r"(\]\(|\bsrc=\"|\bhref=\")([^)\s#\":]+)(?=[)#\"])")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every page of the decisions in the navigation, in order."""
    folder = REPOSITORY / DOCS / _DECISIONS
    pages = [f"{_DECISIONS}{path.name}" for path in sorted(folder.glob("[0-9]*.md"))]
    for section in config.nav or []:
        for title, entries in section.items():
            if isinstance(entries, list) and _DECISIONS in entries:
                entries[entries.index(_DECISIONS)] = {"Decisions": [f"{_DECISIONS}README.md", *pages]}
                section[title] = entries
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from outside docs/, and the pages that only the site has."""
    for source, place in PLACES.items():
        files.append(File.generated(config, place, abs_src_path=str(REPOSITORY / source)))
    for place, make_page in PAGES.items():
        files.append(File.generated(config, place, content=make_page()))
    return files


def on_page_markdown(markdown: str, page: Page, **_others: object) -> str:
    """Rewrite the links of a page for its place in the site, and add the sections that only the site has."""
    place = page.file.src_uri
    sections = [make_section() for make_section in [SECTIONS.get(place)] if make_section is not None]
    return "\n".join([with_site_links(markdown, place), *sections])


def with_site_links(markdown: str, place: str) -> str:
    """Return the page with every relative link between docs/ and the rest of the repository rewritten for the site.

    Args:
        markdown: the page, with links that are right in the repository.
        place: the page's place in the site.
    """
    source = _SOURCES.get(place, f"{DOCS}/{place}")

    def rewritten(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        if target not in PLACES and not target.startswith(f"{DOCS}/"):
            return match[0]
        in_site = PLACES.get(target, target.removeprefix(f"{DOCS}/"))
        return match[1] + posixpath.relpath(in_site, posixpath.dirname(place) or ".")

    return _LINK.sub(rewritten, markdown)
