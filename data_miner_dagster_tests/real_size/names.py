"""File names that a file system allows but that many programs mishandle."""

from typing import Final

STEMS: Final[tuple[str, ...]] = (
    "holiday",
    "Zürich Straße",
    "видео 7",
    "動画",
    "clip [1080p] (final)",
    "100% legal %41 %s",
    "Part #1 of 2",
    "what now?",
    'it\'s "quoted"',
    "semi;colon & more",
    "🎬 take two",
    " space in front",
    "-dash",
    "~tilde",
    "dots...inside",
    "a" * 230,
    "Cafe\u0301",
    "line\nbreak",
    "tab\there",
    "back\\slash",
    "$HOME ${x} `id`",
    "{brace} {env:HOME}",
    "star*",
    "<b>bold",
    "pipe|d",
    "[b] [red]",
    "=1+1",
    "CON",
    "مقطع",
    "comma, colon: yes",
)


def name_of(number: int, suffix: str) -> str:
    """Return the name of the `number`-th file: the stems are used in turn, with a number that keeps names unique."""
    stem = STEMS[number % len(STEMS)]
    return f"{stem}{'' if number < len(STEMS) else f' {number}'}.{suffix}"
