"""The command `init`: write a commented project file to start from, using options or interactive questions."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Annotated, Final

import typer

from data_miner_dagster.cli.interrupts import EXIT_INTERRUPTED
from data_miner_dagster.cli.options import ProfileOption, said_again
from data_miner_dagster.cli.output import echo
from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted

_VOWELS: Final = "aeiou"


def init(
    file: Annotated[Path, typer.Argument(help="The project file to write.")] = Path("project.yaml"),
    folder: Annotated[
        list[Path] | None,
        typer.Option("--folder", metavar="<path>", help="A folder with videos, or a video file; may be repeated."),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option("--search", metavar="<text>", help="Words to search YouTube for; may be repeated."),
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option("--url", metavar="<url>", help="The URL of a video; may be repeated.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="<text>", help="A class of objects to detect; may be repeated."),
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(
            "--positive",
            metavar="<text>",
            help="A description of a useful frame; may be repeated. Default: the classes.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The project's name. Default: the file's name.")] = None,
    profile: ProfileOption = None,
) -> None:
    """Write a commented project file for a folder, a search or a URL.

    The command asks for the source of the videos and for the classes if no option names them.
    """
    if file.exists():
        raise ConfigError(f"{file} already exists; choose another name with `data-miner init FILE`")
    given = _Given(tuple(folder or ()), tuple(search or ()), tuple(url or ()))
    if not given.is_any:
        given = _asked_source()
    wanted = classes or _asked_list("What should be detected? Classes, separated by commas (such as bicycle, person)")
    if not wanted:
        raise ConfigError("no class to detect was given; add an option such as --class bicycle for each class")
    project = name or _name_of(file)
    text = project_text(project, given, wanted, positive or [_with_article(word) for word in wanted])
    remarks = _write_checked(file, text)
    classes_found = counted(len(wanted), "class", "classes")
    echo(f"{file} has been written: project {project}, {given.line}, {classes_found}; edit it as you like")
    for remark in remarks:
        echo(f"warning: {remark}", err=True)
    options = said_again(default_profile="lite")
    echo(f"next: run `data-miner config check {quote(str(file))}{options}`")
    root = "" if " --root " in options else " --root ~/mined"
    echo(f"then: run `data-miner run --config {quote(str(file))}{root}{options}`")
    if profile is None:
        echo("      (`lite` needs no model hub and no GPU; the default, `standard`, fetches about 6 GB of models)")


@dataclass(frozen=True, slots=True)
class _Given:
    """The sources of videos that the user has given."""

    folders: tuple[Path, ...] = ()
    searches: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    @property
    def is_any(self) -> bool:
        return bool(self.folders or self.searches or self.urls)

    @property
    def line(self) -> str:
        """The given sources as human-readable text."""
        parts = [*map(str, self.folders), *(f"search {words!r}" for words in self.searches), *self.urls]
        return "videos from " + ", ".join(parts)

    def as_yaml(self) -> str:
        """Return the items of `sourcing.sources`, each with a comment."""
        lines = []
        if self.folders:
            paths = [str(path.expanduser().absolute()) for path in self.folders]
            lines += [
                "    # files, folders (with their subfolders) and globs on this machine",
                f"    - {_source('files', paths)}",
            ]
        if self.searches:
            found = _source("search", self.searches, ", max_results: 10")
            lines += ["    # words to search YouTube for; begin with few results", f"    - {found}"]
        if self.urls:
            lines += ["    # anything that yt-dlp accepts; add more at any time", f"    - {_source('urls', self.urls)}"]
        return "\n".join(lines)


_KEYS: Final = {"files": "paths", "search": "queries", "urls": "urls"}


def _source(kind: str, values: "list[str] | tuple[str, ...]", more: str = "") -> str:
    return f"{{type: {kind}, {_KEYS[kind]}: {_quoted(values)}{more}}}"


def _quoted(values: "list[str] | tuple[str, ...]") -> str:
    """Return strings as a YAML list, quoted so that they can contain any characters."""
    return json.dumps(list(values), ensure_ascii=False)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def project_text(project: str, given: _Given, classes: list[str], positive: list[str]) -> str:
    """Return the text of a project file, with a comment on each choice."""
    prompts = "\n".join(f"    - {_text(words)}" for words in positive)
    named = "\n".join(f"    {_text(word)}: []" for word in classes)
    return f"""\
# A project: where videos come from, which frames are kept, and which objects are detected in them.
# `data-miner config schema` lists every key. `data-miner config check FILE` reports mistakes before any work starts.
# You can change and run it again at any time: only changed parts are redone, and the result is a new release version.
name: {_text(project)}

sourcing:
  sources:
{given.as_yaml()}
  # More kinds: playlists, channels, feeds, hashtags, lists of URLs, folders of pictures, buckets.
  # You are responsible for the rights to the videos that you download. `rules: {{licences: [creative commons]}}` takes
  # only videos under such licences.

filtering:
  # Descriptions of a useful frame. A frame is kept if it is similar enough to one of them.
  positive:
{prompts}
  # Descriptions such as "a cartoon". A frame that is more similar to one of them than to those above is dropped.
  negative: []
  # The default threshold depends on the encoder; `data-miner review` finds a better one from your answers.
  # positive_threshold: 0.3

detection:
  # The classes, each with phrases that describe it; [] means its name. The detector of the profile `lite` knows only 80
  # classes: `data-miner models classes lite-yolov3-tiny` lists them.
  classes:
{named}

releasing:
  # Boxes below this confidence are not released; frames with boxes near it wait for your review.
  confidence_threshold: 0.3
"""


def _write_checked(file: Path, text: str) -> list[str]:
    """Write the file, and return remarks on its paths that are missing or contain no videos.

    If its content is invalid, the file is removed again.

    Raises:
        ConfigError: an argument is not valid in a project file, or the file cannot be written.
    """
    from data_miner_dagster.config.loading import load_project_file
    from data_miner_dagster.operations.preflight import check_paths, folders_without_videos

    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be written ({error.strerror}); choose another path with `data-miner init FILE`"
        ) from error
    try:
        project = load_project_file(file).project
    except ConfigError:
        file.unlink()
        raise
    try:
        check_paths(project, file.absolute().parent)
    except ConfigError as error:
        return [str(error)]  # the folder may be created later
    return folders_without_videos(project, file.absolute().parent)


def _asked_source() -> _Given:
    """Ask for the source of the videos, and return it.

    Raises:
        ConfigError: the answer is empty.
    """
    answer = _asked("Where are the videos? A folder or file, a URL, or words to search YouTube for")
    if not answer:
        raise ConfigError("no source of videos was given; add --folder PATH, --search WORDS or --url ADDRESS")
    if "://" in answer:
        return _Given(urls=(answer,))
    path = Path(answer).expanduser()
    return _Given(folders=(path,)) if path.exists() or "/" in answer else _Given(searches=(answer,))


def _asked_list(question: str) -> list[str]:
    return [word.strip() for word in _asked(question).split(",") if word.strip()]


def _asked(question: str) -> str:
    """Ask a question and return the answer, which is empty if the input ends and is not a terminal.

    Raises:
        typer.Exit: the user pressed Ctrl-C or Ctrl-D at a terminal. The status is that of an interrupted command.
    """
    try:
        return str(typer.prompt(question, default="", show_default=False, err=True)).strip()
    except typer.Abort:
        if sys.stdin.isatty():
            echo("", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None  # an Abort would say that the command was not confirmed
        return ""


def _name_of(file: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem).strip("-._") or "project"


def _with_article(word: str) -> str:
    """Return a one-word class with an indefinite article, because encoders match `a bicycle` better than `bicycle`.

    A class of several words is returned unchanged.
    """
    return word if " " in word else f"{'an' if word[:1].lower() in _VOWELS else 'a'} {word}"
