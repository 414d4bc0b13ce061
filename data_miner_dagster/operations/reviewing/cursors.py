"""Encode the start of a queue's page as a cursor, which identifies the last question on the previous page.

A cursor is a position in the queue's order, not a number of questions. Answers that are given between two pages
therefore cause neither gaps nor repetitions.
"""

import base64
import binascii
import json
from dataclasses import dataclass

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.keys import split_frame_id


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last question before a page: its sort keys, its frame, and the number of its box on the frame."""

    keys: tuple[float, ...]
    frame_id: str
    box: int

    def encoded(self) -> str:
        """Return the cursor as a string that needs no escaping in a URL."""
        content = json.dumps([[key.hex() for key in self.keys], self.frame_id, self.box], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")

    @classmethod
    def decoded(cls, text: str) -> "Cursor":
        """Return the cursor that `text` encodes.

        Raises:
            ConfigError: `text` does not encode a cursor.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            keys, frame_id, box = json.loads(base64.urlsafe_b64decode(padded.encode()))
            split_frame_id(str(frame_id))  # raises a ValueError if it is not a frame id
            return cls(tuple(float.fromhex(key) for key in keys), str(frame_id), int(box))
        except (binascii.Error, ValueError, TypeError, OverflowError) as error:
            raise ConfigError(f"{text!r} is not a valid cursor; start again with the first page") from error
