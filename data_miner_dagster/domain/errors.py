"""The exception tree, on one page.

A bad *item* (one video, one frame) becomes a stored reason; only a bad *run* raises to the user. A message says what is
wrong, with which value, and the remedy.

    DataMinerError
    ├── ConfigError            the user's file or flags are wrong; nothing has been started
    ├── NothingToReleaseError  the run finished and has nothing to release; the message carries the funnel
    ├── SourceError            one source could not be listed; the others are
    ├── ClaimHeldError         another live worker holds the requested work
    ├── RunEndedError          the run of this process was ended from outside: it stops, and writes nothing more
    ├── NotReadyError          an earlier stage of the project has not been done
    ├── OutOfDateError         a table was made from inputs that have since changed, or by an earlier version
    ├── SystematicFaultError   the same fault hit every item, or ten in a row: our fault, not the data's
    ├── CatalogError           the catalog is damaged, or does not belong to the files
    ├── DamagedFileError       a derived file cannot be read: it is removed, and a run makes it again
    ├── PermanentError         trying again gives the same result
    │   ├── VideoPermanentError(kind)
    │   ├── UnreadableImageError   one image is left out
    │   ├── ObjectError            a bucket refuses, or what it gave is not what was asked for
    │   │   ├── ObjectMissingError     there is no such object or bucket
    │   │   └── ObjectForbiddenError   these credentials may not do this
    │   └── ModelError
    └── TransientError         trying again later may succeed
        ├── ClaimLostError         another worker took the work over while this one was suspended
        ├── OutageError(kind)  every item would meet it: the stage waits
        ├── ObjectTransientError   a bucket did not answer, in all tries
        │   └── ObjectChangedError     an object was replaced while it was read
        └── VideoTransientError(kind)

Errors that only one package raises and catches are defined there, as subclasses of these: `PostponedError` and
`NotYetError` (operations/politeness.py), `NotWantedError` (operations/downloading), `VideosLeftOutError`
(operations/left_out.py), and the errors that end a worker (workers/errors.py). Two kinds are outside the tree:
`WorkerFaultError`, which represents an unexpected exception, and errors that another library must catch as its own
(yt-dlp's `RequestError`, pydantic's `ValueError`).
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
    """One source could not be listed. This must never be treated as an empty list."""


class ClaimHeldError(DataMinerError):
    """Another live worker is doing this work, and the caller stopped waiting."""


class RunEndedError(DataMinerError):
    """The run was ended while its process was still at work, which therefore stops. Nothing is charged to any item."""


class SystematicFaultError(DataMinerError):
    """A fault that is not specific to single items: nothing was recorded for any of them, and the run ends."""


class CatalogError(DataMinerError):
    """The catalog is damaged, or missing although files that it must know exist."""


class DamagedFileError(DataMinerError):
    """A derived file cannot be read. Kept files (releases, the catalog, settings) have their own errors."""


class NotReadyError(DataMinerError):
    """An earlier stage of the project has not been done, so this one cannot begin. Nothing has failed."""


class OutOfDateError(DataMinerError):
    """A table was made from inputs that have since changed, or by an earlier version: its stage has to run again."""


class PermanentError(DataMinerError):
    """Retrying gives the same result."""


class TransientError(DataMinerError):
    """Trying again later may succeed."""


class ClaimLostError(TransientError):
    """Another worker took the work over because this one did not run for a while. Nothing is charged to any item."""


class OutageError(TransientError):
    """Something that every item needs is away or used up; `kind` is a `FailureKind`. Nothing is charged to any item."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ModelError(PermanentError):
    """A model is unknown, missing from the cache, or does not match its pinned checksum."""

    is_of_project = False
    """True if a project asks for this model by name, so that other projects may do without it."""


class ObjectError(PermanentError):
    """A bucket refuses a request, or its contents differ from what was stored. The message names the object."""


class ObjectMissingError(ObjectError):
    """There is no such object, or no such bucket."""


class ObjectForbiddenError(ObjectError):
    """The credentials are wrong, or do not allow the request."""


class ObjectTransientError(TransientError):
    """A bucket did not answer in any attempt, or broke off its answer."""


class ObjectChangedError(ObjectTransientError):
    """An object was replaced again and again while it was being read."""


class UnreadableImageError(PermanentError):
    """An image is missing, damaged or not an image. The message names the file (if there is one) and the fault."""


class VideoPermanentError(PermanentError):
    """One video cannot be used; `kind` is stored with it.

    `is_of_file_alone` means that the site delivered everything it has, so the failure does not count against the site.
    """

    is_of_network: Final = False
    """Always False: see `VideoTransientError`."""

    def __init__(self, kind: VideoErrorKind, message: str, *, is_of_file_alone: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.is_of_file_alone = is_of_file_alone


class VideoTransientError(TransientError):
    """One video failed in a way that may pass; `kind` is stored with it.

    `retry_after_seconds` is the server's own value, if it sent one.
    """

    is_of_file_alone: Final = False
    """Always False: see `VideoPermanentError`."""
    is_of_network = False
    """True if no site was reached: there is no route, or its name cannot be resolved."""

    def __init__(self, kind: VideoErrorKind, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds
