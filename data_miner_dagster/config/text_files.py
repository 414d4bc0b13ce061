"""Read the user's text files safely: regular files of limited size, and YAML of limited depth and expansion.

Parsers recurse, so a hundred kilobytes of `[` crash the process inside libyaml. A few aliases or interpolations, each
of which repeats the previous one twice, exhaust memory. The YAML events of a file are therefore counted before anything
is built from them.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.phrases import counted

MAX_YAML_BYTES: Final = 1_000_000
MAX_LIST_BYTES: Final = 64_000_000
"""The size limit of a list with one entry per line."""
_MAX_DEPTH: Final = 40
_MAX_NODES: Final = 100_000
_MAX_REPEATED_NODES: Final = 10_000
"""The maximum number of nodes to which all uses of aliases in a file may expand in total."""
_MAX_DIGITS: Final = 100
_MAX_REFERENCES: Final = 200
_MAX_REFERENCES_A_VALUE: Final = 20
_MAX_CHAINED_REFERENCES: Final = 12
"""The maximum number of references to values that contain references. At worst, twelve references form four levels of
three each, which make 3 * 3 * 3 * 3 copies."""
_MAX_INTERPOLATED_CHARACTERS: Final = 2_000
_MAX_EXPANDED_CHARACTERS: Final = 5_000_000

_NUMBER: Final = re.compile(r"[-+]?[0-9][0-9_.:eE+-]*")
_ENVIRONMENT: Final = re.compile(r"\$\{oc\.env:[^${}]*\}")
_PLAIN_REFERENCE: Final = re.compile(r"\$\{[^${}:]*?([^${}.:\[\]]+)\]?\}")


def read_text_file(path: Path, *, max_bytes: int = MAX_YAML_BYTES) -> str:
    """Return the text of a regular file.

    Raises:
        FileNotFoundError: the file does not exist.
        ConfigError: the file is not a regular file, is too large, cannot be read or is not UTF-8.
    """
    try:
        # A normal open would block forever on a pipe without a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ConfigError(f"{path} is not a regular file; give a text file")
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ConfigError(f"{path} cannot be read ({reason}); give a readable text file") from None
    if len(content) > max_bytes:
        raise ConfigError(f"{path} is larger than {max_bytes / 1e6:g} MB, the most that can be read; shorten it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} cannot be read (not UTF-8 text); save it as UTF-8") from None


def check_yaml_shape(text: str) -> type[yaml.Event] | None:
    """Refuse YAML text with excessive nesting, repetition or length, in linear time.

    Returns:
        The type of the event that begins the document's content (a mapping, a list or a scalar), or None if the
        document is empty.

    Raises:
        ConfigError: the text exceeds a limit, or an alias is undefined or stands for a value that contains it. The
            message gives the line but not the file's name.
        yaml.YAMLError: the text is not YAML.
    """
    shape = _YamlShape()
    # libyaml produces events in a loop; it recurses only to build a tree
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        try:
            shape.add(event)
        except ConfigError as error:
            line = event.start_mark.line + 1 if event.start_mark is not None else 0
            raise ConfigError(f"line {line}: {error}") from None
    return shape.root


class _YamlShape:
    """Tracks the depth and size of the content that YAML events describe, without building that content."""

    def __init__(self) -> None:
        self.root: type[yaml.Event] | None = None
        self._depth = 0
        self._num_nodes = 0
        self._num_repeated = 0
        self._open_anchors: list[tuple[str | None, int]] = []
        self._sizes: dict[str | None, int] = {}  # in nodes, by anchor; None for nodes without an anchor

    def add(self, event: yaml.Event) -> None:
        """Count an event.

        Raises:
            ConfigError: the events so far exceed a limit, or the event is an alias without a complete value.
        """
        if self.root is None and isinstance(event, yaml.NodeEvent):
            self.root = type(event)
        if isinstance(event, yaml.AliasEvent):
            self._repeat(event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._depth += 1
            self._open_anchors.append((event.anchor, self._num_nodes))
            self._num_nodes += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            self._depth -= 1
            anchor, before = self._open_anchors.pop()
            self._sizes[anchor] = self._num_nodes - before
        elif isinstance(event, yaml.ScalarEvent):
            self._num_nodes += 1
            self._sizes[event.anchor] = 1
            _check_scalar(event)
        self._check_limits()

    def _check_limits(self) -> None:
        if self._depth > _MAX_DEPTH:
            raise ConfigError(f"values are nested more than {_MAX_DEPTH} levels deep; check brackets and indentation")
        if self._num_repeated > _MAX_REPEATED_NODES:
            raise ConfigError(f"aliases stand for more than {_MAX_REPEATED_NODES:,} values; use fewer aliases")
        if self._num_nodes > _MAX_NODES:
            raise ConfigError(f"the file contains more than {_MAX_NODES:,} values; move some of them to another file")

    def _repeat(self, anchor: str | None) -> None:
        if anchor not in self._sizes:
            is_open = any(name == anchor for name, _ in self._open_anchors)
            problem = (
                "refers to a value that contains it; write another value instead"
                if is_open
                else "is not defined; write the value instead"
            )
            raise ConfigError(f"the alias *{anchor} {problem}")
        self._num_nodes += self._sizes[anchor]
        self._num_repeated += self._sizes[anchor]


def _check_scalar(event: yaml.ScalarEvent) -> None:
    if len(event.value) > _MAX_DIGITS and event.implicit[0] and _NUMBER.fullmatch(event.value):
        raise ConfigError(
            f"a number has {counted(len(event.value), 'character')}, more than the {_MAX_DIGITS} that are allowed; "
            "put it in quotes if it is text"
        )
    num_references = event.value.count("${")  # references are also parsed recursively
    is_long = len(event.value) > _MAX_INTERPOLATED_CHARACTERS
    if num_references > _MAX_REFERENCES_A_VALUE or (num_references and is_long):
        raise ConfigError(
            f"a value has {counted(num_references, 'reference')} with `${{...}}` and "
            f"{counted(len(event.value), 'character')}, but at most {_MAX_REFERENCES_A_VALUE} references and "
            f"{_MAX_INTERPOLATED_CHARACTERS:,} characters are allowed; replace references with their values"
        )


def check_interpolations(content: object, num_characters: int) -> None:
    """Refuse `${...}` references that could expand a file excessively. Call `check_yaml_shape` on its text first.

    Args:
        content: the file's content, before references are resolved.
        num_characters: the length of the file's text.

    Raises:
        ConfigError: the references exceed a limit. The message does not name the file.
    """
    references: list[str | None] = []  # the last word of each reference, or None if unknown
    holders: set[str] = set()  # keys whose value contains a reference at any depth
    for keys, text in _texts_of(content, ()):
        if "${" not in text:
            continue
        without_environment = _ENVIRONMENT.sub("", text)
        plain = _PLAIN_REFERENCE.findall(without_environment)
        num_other = _PLAIN_REFERENCE.sub("", without_environment).count("${")
        references += [*plain, *[None] * num_other]
        if plain or num_other:
            holders.update(keys)
    num_chained = sum(word is None or word.strip() in holders or word.strip().isdigit() for word in references)
    if (
        len(references) > _MAX_REFERENCES
        or num_chained > _MAX_CHAINED_REFERENCES
        or len(references) * num_characters > _MAX_EXPANDED_CHARACTERS
    ):
        raise ConfigError(
            f"{counted(len(references), 'reference')} with `${{...}}`, {num_chained} of them to values that contain "
            f"references, exceed the limits of a file ({_MAX_REFERENCES} and {_MAX_CHAINED_REFERENCES}, and fewer in a "
            "long file); replace some of them with their values"
        )


def _texts_of(content: object, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    children: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(content, str):
        yield keys, content
    elif isinstance(content, Mapping):
        children = iter(content.items())
    elif isinstance(content, list):
        children = iter(enumerate(content))
    for key, value in children:
        yield from _texts_of(value, (*keys, str(key)))
