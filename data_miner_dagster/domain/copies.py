"""The kinds of copies outside the root."""

from enum import StrEnum


class CopyKind(StrEnum):
    """The purpose of a copy of a root, or of a part of it. Values are stored."""

    BACKUP = "backup"  # a copy of the whole root
    PUBLICATION = "publication"  # a copy of a release, for other people
