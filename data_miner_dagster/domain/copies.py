"""The kinds of copies outside the root."""

from enum import StrEnum


class CopyKind(StrEnum):
    """The purpose of a copy of a root, or of a part of it. Values are stored."""

    BACKUP = "backup"  # of the whole root
    PUBLICATION = "publication"  # a release, for others
