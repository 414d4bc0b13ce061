"""Kinds of copies outside the root. Values are stored."""

from enum import StrEnum


class CopyKind(StrEnum):
    """Why something of a root lies elsewhere."""

    BACKUP = "backup"  # of the whole root
    PUBLICATION = "publication"  # a release, for others
