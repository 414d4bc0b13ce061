"""Kinds of copies outside the root. Values are stored."""

from enum import StrEnum


class CopyKind(StrEnum):
    """Why a part of a root is stored elsewhere."""

    BACKUP = "backup"  # of the whole root
    PUBLICATION = "publication"  # a release, for others
