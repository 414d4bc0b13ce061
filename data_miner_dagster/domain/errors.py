"""The exception tree, on one page.

A bad *item* (one video, one frame) becomes a stored reason; only a bad *run* raises to the user. A message says what
is wrong, with which value, and the remedy.

    DataMinerError
    ├── ConfigError            the user's file or flags are wrong; nothing has been started
    ├── NothingToReleaseError  the run finished and has nothing to release; the message carries the funnel
    ├── SourceError            one source could not be listed; the others are
    ├── ClaimHeldError         another live worker holds the work that was asked for
    ├── NotReadyError          an earlier stage of the project has not been done
    ├── OutOfDateError         a table was made from other inputs than are there now
    ├── SystematicFaultError   the same fault met every item, or ten in a row: a fault of ours, not of the data
    ├── CatalogError           the catalog is damaged, or it is not the one that belongs to the files
    ├── DamagedFileError       a derived file cannot be read: it is removed, and a run makes it again
    ├── PermanentError         trying again gives the same answer
    │   ├── VideoPermanentError(kind)
    │   ├── UnreadableImageError   one image is left out
    │   └── ModelError
    └── TransientError         trying again later may succeed
        └── VideoTransientError(kind)

What one room alone raises and catches is defined there, as a kind of one of these: `PostponedError` and `NotYetError`
(operations/politeness.py), `NotWantedError` (operations/downloading), `VideosLeftOutError` (operations/left_out.py),
and what ends a worker (workers/errors.py). Outside the tree are `WorkerFaultError`, which stands for an exception that
nobody expected, and what another library is to catch as its own (yt-dlp's `RequestError`, pydantic's `ValueError`).
"""

from typing import Final

from data_miner_dagster.domain.reasons import VideoErrorKind


class DataMinerError(Exception):
    """The base of all errors this package raises on purpose. `str(error)` is one line for the user."""


class ConfigError(DataMinerError):
    """A configuration value is missing, unknown or out of range."""


class NothingToReleaseError(DataMinerError):
    """No frame survived to the release."""


class SourceError(DataMinerError):
    """One source could not be listed. Never to be taken for an empty list."""


class ClaimHeldError(DataMinerError):
    """Another live worker is doing this work, and the caller did not want to wait any longer."""


class SystematicFaultError(DataMinerError):
    """A fault that is not of single items: nothing was recorded of any, and the run ends."""


class CatalogError(DataMinerError):
    """The catalog is damaged, or missing beside files that it must know."""


class DamagedFileError(DataMinerError):
    """A derived file cannot be read. For what is kept (a release, the catalog, settings) there are other errors."""


class NotReadyError(DataMinerError):
    """An earlier stage of the project has not been done, so this one cannot begin: nothing has failed."""


class OutOfDateError(DataMinerError):
    """A table was made from other inputs than are there now: the stage that makes it has to run again."""


class PermanentError(DataMinerError):
    """Trying again gives the same answer."""


class TransientError(DataMinerError):
    """Trying again later may succeed."""


class ModelError(PermanentError):
    """A model is unknown, missing from the cache, or does not match its pinned checksum."""


class UnreadableImageError(PermanentError):
    """An image is missing, damaged or none; the message names the file, where there is one, and what is wrong."""


class VideoPermanentError(PermanentError):
    """One video cannot be used; `kind` is stored with it.

    `is_of_file_alone`: the site has given all that it has, so that the failure says nothing against it.
    """

    def __init__(self, kind: VideoErrorKind, message: str, *, is_of_file_alone: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.is_of_file_alone = is_of_file_alone


class VideoTransientError(TransientError):
    """One video failed in a way that may pass; `kind` is stored with it.

    `retry_after_seconds` is the server's own word where it gave one.
    """

    is_of_file_alone: Final = False
    """See `VideoPermanentError`."""

    def __init__(self, kind: VideoErrorKind, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds
