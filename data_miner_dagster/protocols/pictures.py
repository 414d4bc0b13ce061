"""What whoever draws or crops asks of a reader of pictures."""

from typing import Protocol

from data_miner_dagster.domain.records import PictureFile, SeenPicture


class PictureReader(Protocol):
    """Shows pictures in files as people see them, whoever wrote their bytes."""

    def see(self, file: PictureFile, at_least_wh: tuple[int, int] | None = None) -> SeenPicture:
        """Return the picture upright, as RGB; one that is larger than `at_least_wh` may come reduced, but not below it.

        Raises on a file that is missing or shows nothing.
        """
        ...
