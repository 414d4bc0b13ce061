"""Render the card, the datasheet and the report with a strict Jinja environment that escapes values in HTML."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.phrases import counted, counted_phrase, phrase_of
from data_miner_dagster.domain.sizes import size_text

_BLOCK_STARTS: Final = ("#", "-", "+", "=", "~")
"""Characters that begin a Markdown heading, list, rule or fence."""


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("data_miner_dagster.export"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        finalize=_printable,  # file names may contain bidirectional controls or invalid characters
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "thousands": _thousands,
        "counted": counted,
        "number": _number,
        "size": size_text,
        "duration": _duration,
        "cell": _cell,
        "prose": _prose,
        "counts": _counts,
        "firsts": _firsts,
        "estimate": _estimate,
        "code": _code,
        "phrase": phrase_of,
        "pin": _pin,
        "reasons": _reasons,
    }
    return environment


def render(template: str, **values: object) -> str:
    """Render a template with `values`.

    Raises:
        jinja2.UndefinedError: the template uses a value that is missing.
    """
    return _environment().get_template(template).render(**values)


def _printable(value: object) -> object:
    return printable(value) if type(value) is str else value  # Markup is our own, and therefore safe


def _thousands(number: int) -> str:
    return f"{number:,}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _firsts(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _estimate(estimate: Mapping[str, float] | None, unknown: str = "–") -> str:
    """Return a share and its interval as percentages, or `unknown` if there is no estimate."""
    if estimate is None:
        return unknown
    return f"{100 * estimate['value']:.1f} % ({100 * estimate['low']:.1f} to {100 * estimate['high']:.1f})"


def _code(text: str) -> Markup:
    """Convert a string to HTML, with the parts between backticks as code."""
    parts = (escape(printable(part)) for part in text.split("`"))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def _cell(value: object) -> str:
    """Convert a value to an escaped cell of a Markdown table. Video titles, for example, are untrusted text.

    None and the empty string become "unknown".
    """
    text = "unknown" if value is None or value == "" else str(value)
    return _literal(" ".join(text.split()))


def _prose(text: str) -> str:
    """Escape a description of one or more paragraphs so that it adds no elements, links or headings."""
    lines = [_literal(line.strip()) for line in text.splitlines()]
    return "\n".join(f"\\{line}" if line.startswith(_BLOCK_STARTS) else line for line in lines)


def _literal(text: str) -> str:
    """Escape one line of text so that Markdown shows it literally."""
    text = text.replace("\\", "\\\\")
    for character in "|`*_[]<>":
        text = text.replace(character, f"\\{character}")
    return text


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items())


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(counted_phrase(number, reason) for reason, number in counts.items())


def _pin(model: Mapping[str, str | None]) -> str:
    """Return the revision of a model's weights, or else a phrase that says whether they are pinned."""
    is_elsewhere = str(model["source"]).startswith("endpoint:")
    return model["revision"] or ("not pinned: it runs on a server" if is_elsewhere else "pinned by checksum")
