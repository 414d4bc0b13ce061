"""Where a page of a queue begins: the keys and the place of the last question of the page before.

A cursor names a place, not a number of questions, so nothing is skipped or repeated when somebody answers meanwhile.
"""

import base64
import binascii
import json
from dataclasses import dataclass

from data_miner_dagster.domain.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last question before a page."""

    keys: tuple[float, ...]
    frame_id: str
    box: int

    def encoded(self) -> str:
        """Return text that is safe in an address."""
        content = json.dumps([[key.hex() for key in self.keys], self.frame_id, self.box], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")

    @classmethod
    def decoded(cls, text: str) -> "Cursor":
        """Return the cursor that `encoded` wrote.

        Raises:
            ConfigError: it did not write this.
        """
        try:
            padded = text + "=" * (-len(text) % 4)
            keys, frame_id, box = json.loads(base64.urlsafe_b64decode(padded.encode()))
            return cls(tuple(float.fromhex(key) for key in keys), str(frame_id), int(box))
        except (binascii.Error, ValueError, TypeError) as error:
            raise ConfigError(f"{text!r} is not the cursor of a page; begin at the first page") from error
