"""Phrases that a native-speaking engineer would not write, each with what to write instead.

CONTRIBUTING.md explains the rules behind them. A space in a pattern also matches a line break in a docstring, between
two comments, or between two string literals. A match is allowed if the pattern's group `fine` takes part in it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_GAP: Final = r"""(?:[ ]?"\n[ ]*f?"[ ]?|\n[ ]*(?:\#[ ])?|[ ])"""


@dataclass(frozen=True, slots=True)
class BannedPhrase:
    """A phrase, and what to write instead."""

    pattern: str
    instead: str

    def found_in(self, text: str) -> Iterator[tuple[int, str]]:
        """Yield the line number, counted from 1, and the words of each use."""
        for match in re.finditer(self.pattern.replace(" ", _GAP), text):
            if "fine" not in match.re.groupindex or match["fine"] is None:
                yield text.count("\n", 0, match.start()) + 1, re.sub(_GAP, " ", match[0])


BANNED: Final = (
    BannedPhrase(r"\b(?:(?P<fine>there )|)(?:is|are|was|were) none\b", "is not one; is absent; there is none"),
    BannedPhrase(
        r"\b(?:(?P<fine>[Tt]here )|)(?:is|are|was|were) no (?!longer|more|other|less|fewer|later|earlier|larger)\w+",
        "is not a; has no; there is no",
    ),
    BannedPhrase(r"\b[Ss]o many\b(?! \w+ that)", "this many; that many; up to N"),
    BannedPhrase(r"\b[Ss]o much (?:time|room|work|of)\b", "this much; up to"),
    BannedPhrase(r"\b(?:[Ss]ees? to|seen to|See that)\b", "ensure; make sure"),
    BannedPhrase(r"\b[Dd]ear(?:er|est)?\b", "expensive, costly"),
    BannedPhrase(r"\bfor ever\b", "forever; indefinitely"),
    BannedPhrase(r"\bbe had\b", "is available; can be read; can be obtained"),
    BannedPhrase(r"\b[Ww]hoever\b", "anyone who; the caller; whichever process"),
    BannedPhrase(r"\b(?:by|of) (?:itself|themselves)\b", "automatically; on its own; alone"),
    BannedPhrase(r"[,;:] of (?:an? |the |each |every |all )?\w+ the\b", 'the Y of X, not "of X the Y"'),
    BannedPhrase(r'"""(?:The same|Likewise|Ditto)\b', "a sentence that stands on its own"),
    BannedPhrase(r"\b[Ww]hat (?:is|are) of\b", "what belongs to; what comes from"),
    BannedPhrase(r"\b(?:says?|said|knows?|tells?|learns?) (?:(?:no|any|some)thing|more|less) of\b", "about"),
    BannedPhrase(r"\b(?:needs not|knows? no)\b", "does not need to; does not know"),
    BannedPhrase(r"\b(?:[Tt]hereof|[Ww]hereof|[Tt]hereupon|[Ww]hence|[Tt]herein|[Tt]hrice)\b", "plain words"),
    BannedPhrase(r"\b[Mm]end(?:s|ed)?\b", "fix; repair"),
    BannedPhrase(r"\bas (?:it|they) stands?\b", "as it is now; unchanged"),
    BannedPhrase(r"\bstands? (?:in|above|there|where|before|beside|behind)\b", "is in; is above; exists"),
    BannedPhrase(r"\b[Gg]o(?:es)? together\b", "match; fit; belong together"),
    BannedPhrase(r"\b(?:of late|[Ll]est|[Aa]mid|[Nn]ought|[Aa]ught|[Ww]ithal|as ever)\b", "plain words"),
    BannedPhrase(r"\b(?:[Aa]ll the same|[Tt]he same again)\b", "nevertheless, still; again"),
    BannedPhrase(r"\banew\b", "again; from scratch"),
    BannedPhrase(r"\b(?:is|are|was|were) of another\b", "belongs to another; has another; comes from another"),
    BannedPhrase(r"\bone after the other\b", "one after another"),
    BannedPhrase(r"\bso that nobody\b", "so nobody"),
    BannedPhrase(r"\b[Mm]eanwhile\b", "in the meantime; since; while"),
    BannedPhrase(r"\b[Hh]ow far\b", "the progress; the distance"),
    BannedPhrase(r"\n\s+\w+(?:Error|Exit): it\b", "an entry of Raises names its subject"),
    BannedPhrase(r"\b[Ii]n vain\b", "unsuccessfully; without effect"),
    BannedPhrase(r"\b[Ii]n the moment\b", "the moment; when; currently"),
    BannedPhrase(r"\(None: ", "or None if ..."),
    BannedPhrase(r"\b(?:Write|Remove|Store|Delete) nothing\.", "No file is written."),
    BannedPhrase(r"\bReturn \([A-Z][A-Za-z]*,? ?[A-Za-z0-9]*\) (?:the|whether|sums|a)\b", "an (N,) array of"),
    BannedPhrase(r"; known: ", "use one of ..."),
    BannedPhrase(r'"""Decisions of\b', "Decide ...; Decisions about ..."),
    BannedPhrase(r"\bof any sizes\b", "of any size"),
    BannedPhrase(r"\b[Rr]etry date|\bdate of (?:its|the) (?:next )?(?:retry|attempt)\b", "the time of the next retry"),
    BannedPhrase(r"\bthe time that the rest takes\b", "the remaining time"),
    BannedPhrase(r"\bas far as the\b", "up to the; if the"),
)


def uses(path: Path, phrases: Iterable[BannedPhrase]) -> Iterator[str]:
    """Yield a message for each use of a phrase in a file, with the place and what to write instead."""
    text, phrases = path.read_text(encoding="utf-8"), tuple(phrases)
    if any(pattern.search(text) for pattern in _patterns_of_any(phrases)):
        for phrase in phrases:
            for line, words in phrase.found_in(text):
                yield f"{path}:{line}: {words!r}; write: {phrase.instead}"


@cache
def _patterns_of_any(phrases: tuple[BannedPhrase, ...]) -> tuple[re.Pattern[str], ...]:
    """Return patterns that together find any text with one of the phrases, faster than searching for each phrase.

    Most phrases begin at a word boundary, which a joint pattern checks once for all of them.
    """
    patterns = [phrase.pattern.replace(" ", _GAP).replace("?P<fine>", "?:") for phrase in phrases]
    at_a_word = [pattern.removeprefix(r"\b") for pattern in patterns if pattern.startswith(r"\b")]
    others = [pattern for pattern in patterns if not pattern.startswith(r"\b")]
    return tuple(re.compile(pattern) for pattern in (rf"\b(?:{'|'.join(at_a_word)})", *others))
