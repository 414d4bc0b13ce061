"""Find what a text names as part of the repository although it does not exist."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from data_miner_dagster_tests.recipes.following import PACKAGE, REPOSITORY

_CODE_BLOCK: Final = re.compile(r"(?ms)^```.*?^```$")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_TOLD: Final = re.compile(r"`([^`]+)`")
_ITEM: Final = re.compile(r"[-*] |\d+\. |\|")
_PLACEHOLDER: Final = re.compile(r"<\w+>")
_PATH: Final = re.compile(r"[\w.<>-]+(?:/[\w.<>-]+)*(?:/|\.(?:py|md|cfg|toml|html))")
_FILE_OF_A_ROOT: Final = re.compile(r"(?:[\w<>-]+/)*([\w-]+\.(?:parquet|json|csv|npz))")
_NAME: Final = re.compile(r"((?:[A-Za-z_]\w*\.)*)([A-Za-z_]\w*)(?:\(.*\)|=\S*)?")
_MODULE: Final = re.compile(r"(?<![\w/.<>])[\w/]+\.py\b")
_DEFINED_IN: Final = re.compile(r"`((?:\w+\.)*(\w+))`,? (?:of|in) `([\w/.-]+\.py)`")
_TARGET: Final = re.compile(r"make (?:[A-Z]+=\S+ )?([a-z]+)")

_HERE: Final = Path(__file__).parent


def sections(text: str, title: str) -> Iterator[str]:
    """Yield the sections of a Markdown text whose headings match the pattern `title`."""
    for section in re.split(r"(?m)^(?=#+ )", text):
        if re.match(rf"#+ (?:{title})", section):
            yield section


def items(text: str) -> Iterator[str]:
    """Yield the table rows, list entries and paragraphs of a Markdown text without its code blocks."""
    lines: list[str] = []
    for line in [*_CODE_BLOCK.sub("", text).splitlines(), ""]:
        if lines and (not line.strip() or _ITEM.match(line.strip())):
            yield " ".join(lines)
            lines = []
        if line.strip():
            lines.append(line.strip())


def problems(text: str, *, imagined: str | None = None) -> list[str]:
    """Return a message for each word in backticks in a Markdown text that names something that does not exist.

    A path is looked up in the repository, in the package and beside the preceding paths; `<word>` in a path matches
    anything. A name must occur in one of the files that the same row, entry or paragraph names, or in any file if none
    is named. If the text says `name` of, or in, `module.py`, the module must define the name; an import is not enough.
    The name of a file in a root may occur in any file.

    Args:
        text: a Markdown text.
        imagined: a word of an example. Words that contain it are ignored, and names beside them may occur in any file.
    """
    return [problem for item in items(text) for problem in _problems_of_item(item, imagined)]


def named_files(text: str) -> set[Path]:
    """Return the files and folders that the words in backticks in a Markdown text refer to."""
    found: set[Path] = set()
    for item in items(text):
        files = _Files()
        for token in filter(_PATH.fullmatch, _TOLD.findall(item)):
            files.add(token)
        found.update(files.paths)
    return found


def broken_links(page: Path) -> list[str]:
    """Return the relative links in a Markdown file that point to a file or heading that does not exist."""
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    return [link for link in links if not _leads_somewhere(page, *link.partition("#")[::2])]


def missing_modules(package: Path) -> dict[str, list[str]]:
    """Return the names `*.py` in docstrings and comments for which there is no module, by the module they are in.

    A name is looked up beside the module and in the folders above it, up to the package.
    """
    found: dict[str, list[str]] = {}
    for module in sorted(package.rglob("*.py")):
        places = [folder for folder in module.parents if folder.is_relative_to(package)]
        names = _MODULE.findall(_prose(module.read_text(encoding="utf-8")))
        missing = [name for name in names if not any((place / name).is_file() for place in places)]
        if missing:
            found[module.relative_to(package).as_posix()] = missing
    return found


def _prose(source: str) -> str:
    """Return the comments and docstrings of a module."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    is_first, prose = True, []
    for token in tokens:
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and is_first):
            prose.append(token.string)
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            is_first = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    return "\n".join(prose)


def _leads_somewhere(page: Path, path: str, heading: str) -> bool:
    target = page.parent / path if path else page
    return target.exists() and (not heading or heading in _headings(target.read_text(encoding="utf-8")))


def _headings(text: str) -> set[str]:
    """Return the anchors of the headings in a Markdown text."""
    titles = re.findall(r"(?m)^#+ (.*)$", _CODE_BLOCK.sub("", text))
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _problems_of_item(item: str, imagined: str | None) -> Iterator[str]:
    told = [part for token in _TOLD.findall(item) for part in re.split(r": (?=\w+$)", token)]
    is_imagined = [imagined is not None and imagined in token.lower() for token in told]
    files = _Files()
    names = []
    for token, passes in zip(told, is_imagined, strict=True):
        if passes:
            files.is_anywhere = True
        elif _PATH.fullmatch(token) or _FILE_OF_A_ROOT.fullmatch(token) or _TARGET.match(token):
            if problem := _problem_of_place(token, files):
                yield problem
        elif found := _NAME.fullmatch(token):
            names.append((token, found[2]))
    text = files.text
    for token, name in names:
        if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            yield f"{token} is not in {', '.join(files.told) or 'any file'}"
    for token, name, module in _DEFINED_IN.findall(item):
        is_passed_over = imagined is not None and imagined in f"{token} {module}".lower()
        paths = [path for path in files.paths if path.as_posix().endswith(f"/{module}")]
        if not is_passed_over and paths and name not in _definitions(paths[0]):
            yield f"{token} is not defined in {module}"


def _problem_of_place(token: str, files: "_Files") -> str | None:
    """Return the problem with a token that stands for a file or a Makefile target, or None if there is none."""
    if found := _FILE_OF_A_ROOT.fullmatch(token):
        return None if found[1] in _text_of((REPOSITORY,)) else f"{token} is not in any file"
    if found := _TARGET.match(token):
        makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
        return None if re.search(rf"(?m)^{found[1]}:", makefile) else f"there is no {token}"
    return None if files.add(token) else f"there is no {token}"


@dataclass(slots=True)
class _Files:
    """The files that one item names."""

    told: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    is_anywhere: bool = False  # whether other names of the item may occur in any file

    def add(self, token: str) -> bool:
        """Add the files that a token stands for, and return False if there are none."""
        rooms = [REPOSITORY, REPOSITORY / PACKAGE]
        beside = [folder for path in self.paths[::-1] for folder in (path, path.parent) if folder.is_dir()]
        bases = [*rooms, *beside] if "/" in token else [*beside, *rooms]
        pattern = _PLACEHOLDER.sub("*", token).rstrip("/")
        found = next((paths for base in bases if (paths := sorted(base.glob(pattern)))), [])
        self.is_anywhere = self.is_anywhere or pattern != token.rstrip("/")
        self.told, self.paths = (*self.told, token), (*self.paths, *found)
        return bool(found)

    @property
    def text(self) -> str:
        """The content of the named files, or of all files if none is named or one is an example."""
        return _text_of((REPOSITORY,) if self.is_anywhere or not self.paths else self.paths)


@cache
def _definitions(module: Path) -> set[str]:
    """Return the names of the functions, classes, variables and attributes that a module defines."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


@cache
def _text_of(paths: tuple[Path, ...]) -> str:
    files = [file for path in paths for file in (_sources(path) if path.is_dir() else (path,))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _sources(folder: Path) -> list[Path]:
    if folder == REPOSITORY:
        rooms = (PACKAGE, f"{PACKAGE}_tests", "benchmarks")
        return [*(file for room in rooms for file in _sources(folder / room)), *folder.glob("*.toml")]
    return [file for file in sorted(folder.rglob("*.py")) if file.parent != _HERE]  # which contains made-up names
