"""WordNet's noun hierarchy, read from its own database file, and the concepts above the ImageNet classes.

Belongs here: parsing `data.noun`, choosing hypernyms. Does not belong here: embedding the names of synsets.

Source: Princeton WordNet 3.0, wndb(5WN): the format of `data.noun`. An ImageNet class id is `n` followed by the
class's synset offset in that file.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from data_miner_dagster.domain.errors import ModelError

NOUNS_FILE_NAME: Final = "data.noun"
_HYPERNYM_POINTERS: Final = ("@", "@i")


class NounHierarchy:
    """Synsets by offset, parsed on demand."""

    def __init__(self, line_by_offset: dict[int, bytes]) -> None:
        self._line_by_offset = line_by_offset

    @classmethod
    def load(cls, folder: Path) -> "NounHierarchy":
        """Read `data.noun` from a folder.

        Raises:
            ModelError: the file is missing.
        """
        path = folder / NOUNS_FILE_NAME
        try:
            with path.open("rb") as file:
                # Licence lines start with blanks. Synsets are found by the offset in their line, not by its position in
                # the file, which changes if line ends are converted.
                return cls({int(line[:8]): line for line in file if line[:1].isdigit()})
        except FileNotFoundError as error:
            raise ModelError(f"{path} is missing; fetch it with `data-miner models fetch --profile lite`") from error

    def lemma(self, offset: int) -> str:
        """Return the first name of a synset, with underscores replaced by spaces.

        Raises:
            ModelError: the file has no synset at this offset.
        """
        return self._fields(offset)[4].replace("_", " ")

    def hypernyms(self, offset: int) -> list[int]:
        """Return the offsets of the synsets directly above a synset, with the main one first.

        Raises:
            ModelError: the file has no synset at this offset.
        """
        fields = self._fields(offset)
        num_words = int(fields[3], 16)
        start = 4 + 2 * num_words  # the pointer count follows the pairs of word and lex id
        pointers = (fields[start + 1 + 4 * i : start + 5 + 4 * i] for i in range(int(fields[start])))
        return [int(pointer[1]) for pointer in pointers if pointer[0] in _HYPERNYM_POINTERS]

    def main_line(self, offset: int) -> list[int]:
        """Return the offsets of the synsets above a synset along main hypernyms, nearest first.

        Raises:
            ModelError: the file lacks one of these synsets.
        """
        line = []
        while above := self.hypernyms(offset):
            offset = above[0]
            line.append(offset)
        return line

    def ancestors(self, offset: int) -> set[int]:
        """Return the offsets of a synset and of every synset above it along any path.

        Raises:
            ModelError: the file lacks one of these synsets.
        """
        found: set[int] = set()
        waiting = [offset]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                waiting += self.hypernyms(current)
        return found

    def _fields(self, offset: int) -> list[str]:
        try:
            return self._line_by_offset[offset].decode("ascii").partition(" | ")[0].split()
        except KeyError as error:
            raise ModelError(
                f"{NOUNS_FILE_NAME} has no synset {offset:08d}; remove its folder from the model cache, and fetch it "
                "again with `data-miner models fetch --profile lite`"
            ) from error


def coarse_concepts(
    hierarchy: NounHierarchy, class_offsets: Sequence[int], *, min_classes: int, max_classes: int
) -> list[list[str]]:
    """Return, for each class, the names of the concepts above it that are neither too narrow nor too broad.

    Concepts are taken from the class's main line, nearest first. A concept qualifies if it is above at least
    `min_classes` and at most `max_classes` of the classes. The result for "beagle" contains "hound", "hunting dog" and
    "dog", but neither the breed itself nor "animal".

    Raises:
        ModelError: the hierarchy lacks one of the classes.
    """
    num_classes_below = Counter(ancestor for offset in class_offsets for ancestor in hierarchy.ancestors(offset))
    return [
        [
            hierarchy.lemma(ancestor)
            for ancestor in hierarchy.main_line(offset)
            if min_classes <= num_classes_below[ancestor] <= max_classes
        ]
        for offset in class_offsets
    ]
