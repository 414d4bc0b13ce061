"""The Jinja environment of the datasheet and the report: strict, and escaped where the template is HTML."""

from collections.abc import Iterable, Mapping
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("data_miner_dagster.export"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"thousands": _thousands, "cell": _cell, "counts": _counts, "quoted": _quoted}
    return environment


def render(template: str, **values: object) -> str:
    """Return a template filled in. A name that is not given is an error."""
    return _environment().get_template(template).render(**values)


def _thousands(number: int) -> str:
    return f"{number:,}"


def _cell(value: object) -> str:
    """A value as one cell of a markdown table: titles of videos are foreign text."""
    text = "unknown" if value is None or value == "" else str(value)
    cleaned = " ".join(text.split()).replace("\\", "\\\\")
    for character in "|`*_[]<>":
        cleaned = cleaned.replace(character, f"\\{character}")
    return cleaned


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items())


def _quoted(phrases: Iterable[str]) -> str:
    return ", ".join(f"“{phrase}”" for phrase in phrases)
