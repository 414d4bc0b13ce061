"""The exception tree, on one page.

A bad *item* (one video, one frame) becomes a stored reason. Only a bad *run* raises an error to the user. A message
states the problem, the value and the remedy.

    DataMinerError
    ├── ConfigError            the user's file, flags or other input is wrong
    ├── NothingToReleaseError  the run finished and has nothing to release; the message carries the funnel
    ├── SourceError            one source could not be listed; the others were
    ├── ClaimHeldError         another live worker holds the requested work
    ├── RunEndedError          the run was cancelled or ended by another process, so this process stops
    ├── NotReadyError          an earlier stage of the project has not been done
    ├── OutOfDateError         a table was built from inputs that have since changed, or by an earlier version
    ├── SystematicFaultError   every item, or ten in a row, had the same fault: the program is at fault, not the data
    ├── CatalogError           the catalog is damaged, or does not belong to the files
    ├── DamagedFileError       a derived file cannot be read: it is removed, and the next run recreates it
    ├── PermanentError         trying again gives the same result
    │   ├── VideoPermanentError(kind)
    │   ├── UnreadableImageError   one image is left out
    │   ├── ObjectError            a bucket refuses a request, or an object differs from what was stored
    │   │   ├── ObjectMissingError     the object or the bucket does not exist
    │   │   └── ObjectForbiddenError   the credentials do not allow the request
    │   └── ModelError
    └── TransientError         trying again later may succeed
        ├── ClaimLostError         the claim expired and was taken over, or was revoked because its run was ended
        ├── OutageError(kind)  a problem that would affect every item: the stage waits
        ├── ObjectTransientError   a bucket did not answer in any attempt
        │   └── ObjectChangedError     an object was replaced while it was being read
        └── VideoTransientError(kind)

Subclasses of these errors that only one package raises and catches are defined in that package: `PostponedError` and
`NotYetError` (operations/politeness.py), `NotWantedError` (operations/downloading), `VideosLeftOutError`
(operations/left_out.py), `SourcesMissingError` (operations/extraction/refetching.py), `InputsMissingError`
(operations/releasing/rebuilding.py), and the errors that end a worker (workers/errors.py). Two kinds are outside the
tree: `WorkerFaultError`, which represents an unexpected exception, and errors that another library must catch as its
own (yt-dlp's `RequestError`, pydantic's `ValueError`).
"""

from typing import Final

from data_miner_dagster.domain.reasons import VideoErrorKind


class DataMinerError(Exception):
    """The base class of all errors that this package raises deliberately. `str(error)` is one line for the user."""


class ConfigError(DataMinerError):
    """The user's file, flags or other input is wrong: something is missing, unreadable, unknown or not allowed."""


class NothingToReleaseError(DataMinerError):
    """A project's build ended without any image to release."""


class SourceError(DataMinerError):
    """One source could not be listed. This must never be treated as an empty list."""


class ClaimHeldError(DataMinerError):
    """Another live worker holds the claim on this work, and the caller has stopped waiting."""


class RunEndedError(DataMinerError):
    """The run was cancelled, or was ended by another process. This process stops, and no item has failed."""


class SystematicFaultError(DataMinerError):
    """Every item, or ten in a row, had the same fault. The fault is not recorded for any item, and the run ends."""


class CatalogError(DataMinerError):
    """The catalog is damaged, or is missing although files exist that it should record."""


class DamagedFileError(DataMinerError):
    """A derived file cannot be read.

    Other errors report damage to files that cannot be recreated (releases, catalog, settings).
    """


class NotReadyError(DataMinerError):
    """An earlier stage of the project has not finished, so this stage cannot begin. Nothing has failed."""


class OutOfDateError(DataMinerError):
    """A table was built from inputs that have since changed, or by an earlier version. Its stage must be run again."""


class PermanentError(DataMinerError):
    """A failure that retrying would only repeat."""


class TransientError(DataMinerError):
    """A failure that may not occur again if the work is retried later."""


class ClaimLostError(TransientError):
    """This process has lost its claim on the work, which another worker may have taken over. No item has failed.

    The claim expired while the process was suspended or disconnected, or was revoked because the run was ended.
    """


class OutageError(TransientError):
    """Something that every item needs is unavailable or exhausted. `kind` is a `FailureKind`. No item has failed."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ModelError(PermanentError):
    """A model cannot be used: it is unknown, missing, differs from its pinned checksum, or is too large to run."""

    is_of_project = False
    """True if a project names this model in its settings. Other projects may not need it."""


class ObjectError(PermanentError):
    """A bucket refuses a request, or an object is too large or differs from what was stored.

    The message names the bucket or the object.
    """


class ObjectMissingError(ObjectError):
    """The object or the bucket does not exist."""


class ObjectForbiddenError(ObjectError):
    """The credentials are wrong, or do not allow the request."""


class ObjectTransientError(TransientError):
    """Every attempt at a request to a bucket failed, for a reason that may be temporary."""


class ObjectChangedError(ObjectTransientError):
    """An object or a file changed while it was being read."""


class UnreadableImageError(PermanentError):
    """An image file is missing, damaged or not an image. The message names the file, if there is one, and the fault."""


class VideoPermanentError(PermanentError):
    """One video cannot be used. `kind` is stored with the video.

    `is_of_file_alone` means that the site delivered the complete file, so the failure does not count against the site.
    """

    is_of_network: Final = False
    """Always False, since a network failure is transient (see `VideoTransientError`)."""

    def __init__(self, kind: VideoErrorKind, message: str, *, is_of_file_alone: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.is_of_file_alone = is_of_file_alone


class VideoTransientError(TransientError):
    """One video failed for a reason that may be temporary. `kind` is stored with the video.

    `retry_after_seconds` is the value that the server sent, if any.
    """

    is_of_file_alone: Final = False
    """Always False, since a fault of the file is permanent (see `VideoPermanentError`)."""
    is_of_network = False
    """True if the site was not reached, because there is no route or its name cannot be resolved."""

    def __init__(self, kind: VideoErrorKind, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds
