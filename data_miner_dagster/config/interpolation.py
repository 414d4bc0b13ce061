"""Show settings with references such as `${oc.env:NAME}` in place of interpolated values.

Belongs here: recording which settings came from a variable, and how they are displayed. Does not belong here:
resolving references (loading.py), or restricting the variables that a file may use (project_limits.py).
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote, quote_plus

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

REFERENCE: Final = re.compile(r"\$\{oc\.env:\s*([A-Za-z_]\w*)\s*(?:,[^${}]*)?\}")
PLAIN_REFERENCE: Final = re.compile(r"\$\{[\w.\[\]-]+\}")
MIN_VALUE_LENGTH: Final = 6
"""A shorter value is replaced only if it is an entire setting, since within longer text it might be part of a word."""

_TOKEN: Final = re.compile(r"dmreference\d{4}x")

SettingPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Interpolations:
    """The values that a file reads from the environment, and the settings that contain them."""

    values: tuple[tuple[str, str], ...] = ()  # (value of a variable, reference to it), for long values
    settings: tuple[tuple[SettingPath, str], ...] = ()  # (path of a setting, text to show instead)

    def __bool__(self) -> bool:
        return bool(self.settings)

    def outside_of(self, section: str) -> "Interpolations":
        """Return a copy without the settings in one section."""
        return replace(self, settings=tuple(pair for pair in self.settings if pair[0][0] != section))


def find_interpolations(unresolved: object, resolved: object) -> Interpolations:
    """Find the values that a file reads from the environment, and the settings that contain them.

    `unresolved` and `resolved` are the file's content before and after interpolation. A setting that copies another one
    with `${section.key}` is shown like the original. Settings that use resolvers other than `oc.env`, or nested
    references, are shown as written in the file.
    """
    tokens: dict[str, str] = {}
    marked = _marked(unresolved, tokens)
    if not tokens:
        return Interpolations()
    try:
        shown = OmegaConf.to_container(OmegaConf.create(marked), resolve=True)
        settings = tuple(_settings_with_tokens(resolved, shown, tokens, ()))
    except OmegaConfBaseException:  # for example, because of nested references
        settings = tuple(_settings_with_references(unresolved, ()))
    values = {os.environ[name]: f"${{oc.env:{name}}}" for name in sorted(variables_in(unresolved)) if _is_set(name)}
    return Interpolations(tuple(sorted((value, ref) for value, ref in values.items() if _is_long(value))), settings)


def variables_in(content: object) -> set[str]:
    """Return the names of the environment variables that `content` refers to with `${oc.env:NAME}`."""
    return {name for text in texts_of(content) for name in REFERENCE.findall(text)}


def texts_of(content: Any) -> Iterator[str]:
    """Yield every string at any depth of `content`, except the keys of mappings."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from texts_of(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from texts_of(value)


class ShownSettings:
    """A project's settings for display, with values from the environment replaced by references.

    Args:
        content: the resolved settings as JSON values.
        interpolations: the settings that came from the environment.
    """

    def __init__(self, content: Mapping[str, Any], interpolations: Interpolations) -> None:
        self._settings = dict(interpolations.settings)
        self._content = content
        self._whole: dict[str, str] = {}
        for path, text in interpolations.settings:
            self._whole |= dict.fromkeys(texts_of(_at(content, path)), text)
        # longest first, and including the URL-encoded forms of values
        parts = {
            form: text
            for value, text in (*interpolations.values, *self._whole.items())
            for form in (quote(value, safe=""), quote_plus(value), value)
            if _is_long(value)
        } | {repr(value): repr(text) for value, text in self._whole.items()}  # a quoted value is not part of a word
        self._parts = sorted(parts.items(), key=lambda pair: (-len(pair[0]), pair))

    def text(self, text: str) -> str:
        """Return a setting, or a string about settings, with values from the environment replaced by references.

        Within a longer string, values shorter than `MIN_VALUE_LENGTH` are replaced only where they are in quotes.
        """
        if text in self._whole:
            return self._whole[text]
        for value, reference in self._parts:
            text = text.replace(value, reference)
        return text

    def section(self, name: str) -> Any:
        """Return one section as JSON values, with values from the environment replaced by references.

        The names of classes and splits stay unchanged, since they are keys.
        """
        return self._shown(self._content[name], (name,))

    def everywhere(self, content: Any) -> Any:
        """Return stored content, such as a release's, with values from the environment replaced by references."""
        if isinstance(content, str):
            return self.text(content)
        if isinstance(content, Mapping):
            return {key: self.everywhere(value) for key, value in content.items()}
        return [self.everywhere(value) for value in content] if isinstance(content, list) else content

    def _shown(self, content: Any, path: SettingPath) -> Any:
        text = self._settings.get(path)
        if text is not None:
            return _filled(content, text)
        if isinstance(content, Mapping):
            return {key: self._shown(value, (*path, key)) for key, value in content.items()}
        if isinstance(content, list):
            return [self._shown(value, (*path, index)) for index, value in enumerate(content)]
        return content


def _filled(content: Any, text: str) -> Any:
    """Return a copy of `content` with every value except None replaced by `text`."""
    if isinstance(content, Mapping):
        return {key: _filled(value, text) for key, value in content.items()}
    if isinstance(content, list):
        return [_filled(value, text) for value in content]
    return content if content is None else text


def _at(content: Any, path: SettingPath) -> Any:
    """Return the value at a path, or None if the path does not exist in the settings."""
    for part in path:
        if isinstance(content, Mapping):
            content = content.get(str(part))
        elif isinstance(content, list) and isinstance(part, int) and part < len(content):
            content = content[part]
        else:
            return None
    return content


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name))


def _is_long(text: str) -> bool:
    return len(text) >= MIN_VALUE_LENGTH


# --- finding references ---


def _marked(content: Any, tokens: dict[str, str]) -> Any:
    """Return a copy of `content` with a token for every reference to a set variable, and add each token to `tokens`.

    `tokens` maps each token to the text that it stands for. A string with another resolver or a nested reference is
    replaced as a whole.
    """
    if isinstance(content, str):
        return _marked_text(content, tokens)
    if isinstance(content, Mapping):
        return {key: _marked(value, tokens) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_marked(value, tokens) for value in content]
    return content


def _marked_text(text: str, tokens: dict[str, str]) -> str:
    def token_for(shown: str) -> str:
        token = f"dmreference{len(tokens):04d}x"
        tokens[token] = shown
        return token

    def of_reference(match: re.Match[str]) -> str:
        return token_for(f"${{oc.env:{match[1]}}}") if _is_set(match[1]) else match[0]

    if "${" in PLAIN_REFERENCE.sub("", REFERENCE.sub("#", text)):  # another resolver, or one reference inside another
        return token_for(text)
    return REFERENCE.sub(of_reference, text)


def _settings_with_tokens(
    resolved: Any, shown: Any, tokens: Mapping[str, str], path: SettingPath
) -> Iterator[tuple[SettingPath, str]]:
    if isinstance(shown, str):
        if _TOKEN.search(shown):
            yield path, _TOKEN.sub(lambda match: tokens.get(match[0], match[0]), shown)
    elif isinstance(shown, Mapping) and isinstance(resolved, Mapping):
        for key, value in shown.items():
            yield from _settings_with_tokens(resolved.get(key), value, tokens, (*path, str(key)))
    elif isinstance(shown, list) and isinstance(resolved, list):
        for index, (before, after) in enumerate(zip(resolved, shown, strict=False)):
            yield from _settings_with_tokens(before, after, tokens, (*path, index))


def _settings_with_references(unresolved: Any, path: SettingPath) -> Iterator[tuple[SettingPath, str]]:
    if isinstance(unresolved, str):
        if "${" in unresolved:
            yield path, unresolved
    elif isinstance(unresolved, Mapping):
        for key, value in unresolved.items():
            yield from _settings_with_references(value, (*path, str(key)))
    elif isinstance(unresolved, list):
        for index, value in enumerate(unresolved):
            yield from _settings_with_references(value, (*path, index))
