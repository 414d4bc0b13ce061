"""Translate yt-dlp's exceptions and messages into our errors. docs/downloading.md has the table of error kinds."""

import email
import encodings
import errno
import http.client
import os
import re
import socket
import ssl
import traceback
import urllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final

import yt_dlp
from yt_dlp.networking.exceptions import HTTPError, IncompleteRead, NoSupportingHandlers, RequestError, TransportError
from yt_dlp.utils import (
    ContentTooShortError,
    DownloadError,
    ExtractorError,
    GeoRestrictedError,
    UnsupportedError,
    UserNotLive,
    YoutubeDLError,
)

import data_miner_dagster
from data_miner_dagster.domain.errors import VideoPermanentError, VideoTransientError
from data_miner_dagster.domain.foreign_text import clean_text
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.sites.addresses import AddressRefusedError
from data_miner_dagster.sites.guarded_ydl import javascript_runtime
from data_miner_dagster.sites.hosts import retry_after_seconds
from data_miner_dagster.sites.opt_outs import OptedOutError
from data_miner_dagster.sites.redaction import redact
from data_miner_dagster.sites.responses import PageTooLargeError
from data_miner_dagster.sites.transport import DeadlineExceededError, QueueStoppedError

_K = VideoErrorKind

# The first match counts. Sources: messages of yt-dlp's extractors and YouTube's `playabilityStatus.reason`.
_BY_MESSAGE: Final[tuple[tuple[re.Pattern[str], VideoErrorKind], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"not a bot|captcha|unusual traffic|automated (queries|requests)|bot detection|anti-bot", _K.BOT_CHECK),
        (r"HTTP Error 429|too many requests|rate.?limit(?!ed to)|try again later.*(session|limit)", _K.RATE_LIMITED),
        (r"members.only|join this channel|channel's members|subscribers only|patrons? only|premium", _K.MEMBERS_ONLY),
        (r"confirm your age|age.restricted|inappropriate for some users|age verification", _K.AGE_RESTRICTED),
        (r"private video|video is private|is private\b|granted access", _K.PRIVATE),
        (
            r"not (made )?(this video )?available (in|from) your (country|location|region)|geo.?(restrict|block)"
            r"|blocked it (in|on)|not available in your",
            _K.GEO_BLOCKED,
        ),
        (r"premieres? in|live event will begin|is live\b|is upcoming|not currently live|has not started", _K.LIVE),
        (
            r"has been removed|been deleted|no longer available|video unavailable|does not exist|terminated"
            r"|video is unavailable|isn.t available|this video is not available|removed by the uploader"
            r"|HTTP Error 4(04|10)|not found",
            _K.REMOVED,
        ),
        (r"HTTP Error 40[13]|login required|log ?in|sign in|requires? authentication|cookies", _K.FORBIDDEN),
        (r"larger than max-filesize|file is too large", _K.TOO_LARGE),
        (r"no space left|disk quota", _K.DISK_FULL),
        (r"no video formats|requested format is not available|only images are available", _K.NO_FORMATS),
        (r"unsupported url|drm|ffmpeg|no suitable", _K.UNSUPPORTED),
        (r"incomplete|bytes, expected|bytes read|did not get any data|file is empty", _K.CUT_OFF),
        (r"timed? ?out|connection (reset|refused|aborted|closed)|temporar|HTTP Error 5\d\d|broke off", _K.TRANSIENT),
    )
)
_BY_STATUS: Final = {
    401: _K.FORBIDDEN,
    402: _K.MEMBERS_ONLY,
    403: _K.FORBIDDEN,
    404: _K.REMOVED,
    408: _K.TRANSIENT,
    410: _K.REMOVED,
    425: _K.TRANSIENT,
    429: _K.RATE_LIMITED,
    451: _K.GEO_BLOCKED,
}
_OF_OUR_OWN: Final[tuple[tuple[tuple[type[BaseException], ...], VideoErrorKind], ...]] = (
    ((AddressRefusedError, OptedOutError), _K.POLICY),
    ((QueueStoppedError,), _K.RATE_LIMITED),
    ((DeadlineExceededError,), _K.TRANSIENT),
    ((PageTooLargeError,), _K.TOO_LARGE),
)
_BY_TYPE: Final[tuple[tuple[tuple[type[BaseException], ...], VideoErrorKind], ...]] = (
    ((GeoRestrictedError,), _K.GEO_BLOCKED),
    ((IncompleteRead, ContentTooShortError), _K.CUT_OFF),
    ((UserNotLive,), _K.LIVE),
)
_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTUNREACH})
_NO_WAY_IN_WORDS: Final = re.compile(
    "Temporary failure in name resolution|Network is (unreachable|down)|No route to host"
)
"""Matches the messages of network errors. If a network error interrupts a download, yt-dlp retains only its message."""
_MAX_RAW_MESSAGE: Final = 5000
_HINTS_AT_RUNTIME: Final = frozenset({_K.UNSUPPORTED, _K.NO_FORMATS, _K.FORBIDDEN, _K.BOT_CHECK})


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all errors in its chain of causes and contexts, each once, outermost first."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner: list[object] = [getattr(current, "cause", None), current.__cause__, current.__context__]
        if isinstance(current, DownloadError) and current.exc_info:
            inner.append(current.exc_info[1])
        if isinstance(current, OSError):
            inner.append(getattr(current, "reason", None))
        pending.extend(item for item in inner if isinstance(item, BaseException))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error was caused by a MemoryError, which concerns this process rather than a site."""
    return any(isinstance(item, MemoryError) for item in _chain(error))


def _folder_of(package: ModuleType) -> str:
    return f"{Path(str(package.__file__)).parent}{os.sep}"


_OURS: Final = _folder_of(data_miner_dagster)
_THEIRS: Final = (
    *map(_folder_of, (yt_dlp, email, encodings, http, urllib)),
    *(str(module.__file__) for module in (socket, ssl)),
)
"""The paths of yt-dlp and of the libraries that read a site's bytes for our handler."""
_OF_THE_NETWORK: Final = (YoutubeDLError, RequestError, OSError, http.client.HTTPException)


def fault_of_ours(error: BaseException) -> Exception | None:
    """Return the exception behind an error from yt-dlp if it is a bug in this package, otherwise None.

    yt-dlp calls our handler, hooks and extractor, and wraps their exceptions. An exception is a bug in this package if
    this package, or a library that it called, raised it. Exceptions that were raised on purpose are not bugs: they have
    an error type of yt-dlp, the network or this package. Exceptions from yt-dlp's code, and from the libraries that
    parse a site's response, are attributed to the site.
    """
    for item in _causes(error):
        is_on_purpose = isinstance(item, _OF_THE_NETWORK) or type(item).__module__.startswith("data_miner_dagster.")
        if isinstance(item, Exception) and not is_on_purpose and _came_up_in_ours(item):
            return item
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, but not its contexts, which were handled before another error was raised."""
    pending, seen = [error], set[int]()
    while pending:
        current = pending.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner: list[object] = [getattr(current, "cause", None), current.__cause__]
        if isinstance(current, DownloadError) and current.exc_info:
            inner.append(current.exc_info[1])
        if isinstance(current, NoSupportingHandlers):
            inner += current.unexpected_errors
        pending.extend(item for item in inner if isinstance(item, BaseException))


def _came_up_in_ours(error: BaseException) -> bool:
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = frame.f_code.co_filename
        if path.startswith(_THEIRS):
            return False
        if path.startswith(_OURS):
            return True
    return False


def _message_of(error: BaseException) -> str:
    text = str(error.orig_msg if isinstance(error, ExtractorError) else error)[:_MAX_RAW_MESSAGE]
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"^(ERROR:\s*)+", "", text.strip())
    text = re.sub(r"^\[download\] Got error:\s*", "download broke off: ", text)
    text = text.partition("; please report this issue")[0].partition("(caused by")[0]
    return clean_text(redact(text), 500) or type(error).__name__


def classify(error: BaseException) -> tuple[VideoErrorKind, str, float | None]:
    """Return an error's (kind, message without secrets, wait in seconds). The wait is None if no server requests one.

    `error` may be any exception that yt-dlp raises.

    Raises:
        Exception: the original exception, if it is a bug in this package (`fault_of_ours`).
    """
    chain = list(_chain(error))
    # From certain to likely: our own errors, then HTTP statuses and types, then message texts.
    for item in chain:
        if (raised_by_us := _of_our_own(item)) is not None:
            return raised_by_us
    if (ours := fault_of_ours(error)) is not None:
        raise ours from None
    message = _message_of(chain[0])
    for item in chain:
        if isinstance(item, HTTPError):
            return *_of_status(item, message), retry_after_seconds(item.response.headers.get("Retry-After"))
        if (kind := _of_type(item)) is not None:
            return kind, message, None
    return _of_words(message) or _of_last_resort(chain), message, None


def _of_our_own(error: BaseException) -> tuple[VideoErrorKind, str, float | None] | None:
    """Return the result of `classify` for an error that this package raises on purpose, or None for other errors."""
    if isinstance(error, VideoTransientError):
        return error.kind, redact(str(error)), error.retry_after_seconds
    if isinstance(error, VideoPermanentError):
        return error.kind, redact(str(error)), None
    kind = next((kind for types, kind in _OF_OUR_OWN if isinstance(error, types)), None)
    return None if kind is None else (kind, _message_of(error), None)


def _of_type(error: BaseException) -> VideoErrorKind | None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _K.DISK_FULL
    return next((kind for types, kind in _BY_TYPE if isinstance(error, types)), None)


def _of_status(error: HTTPError, message: str) -> tuple[VideoErrorKind, str]:
    kind = _BY_STATUS.get(error.status)
    if kind is None:
        kind = _K.TRANSIENT if error.status >= 500 else _K.UNSUPPORTED
    # The message of a 403 may reveal a bot check, a geo block or an age gate.
    by_words = _of_words(message)
    if kind is _K.FORBIDDEN and by_words in (_K.BOT_CHECK, _K.GEO_BLOCKED, _K.AGE_RESTRICTED):
        kind = by_words
    return kind, message


def _of_words(message: str) -> VideoErrorKind | None:
    return next((kind for pattern, kind in _BY_MESSAGE if pattern.search(message)), None)


def _of_last_resort(chain: Sequence[BaseException]) -> VideoErrorKind:
    for item in chain:
        if isinstance(item, UnsupportedError):
            return _K.UNSUPPORTED
        if isinstance(item, TransportError | OSError):
            return _K.TRANSIENT
    # A broken extractor fails for everyone until yt-dlp is updated, so a later retry may succeed.
    return _K.UNSUPPORTED if isinstance(chain[0], DownloadError | ExtractorError) else _K.TRANSIENT


def translate(error: BaseException) -> VideoPermanentError | VideoTransientError:
    """Return the domain error for any exception that yt-dlp raises.

    Raise the result with `from None`, because the original may contain signed URLs, which a traceback would print.

    Raises:
        Exception: the original exception, if it is a bug in this package (see `classify`).
    """
    kind, message, wait = classify(error)
    if not kind.is_transient:
        return VideoPermanentError(kind, message)
    translated = VideoTransientError(kind, message, wait)
    translated.is_of_network = any(_is_of_network(item) for item in _chain(error))
    return translated


def _is_of_network(error: BaseException) -> bool:
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN  # no answer; an unknown host name is the site's fault
    if isinstance(error, OSError):
        return error.errno in _NO_WAY
    return isinstance(error, DownloadError) and _NO_WAY_IN_WORDS.search(str(error)) is not None


def explained(error: VideoPermanentError | VideoTransientError, site: str) -> VideoPermanentError | VideoTransientError:
    """Return `error`, or a copy with a remedy in its message.

    The remedy is added if `site` is YouTube, no JavaScript runtime is installed, and that may be the cause.
    """
    if site == "youtube" and error.kind in _HINTS_AT_RUNTIME and javascript_runtime() is None:
        hint = (
            f"{error} (YouTube needs a JavaScript runtime, but none was found; run "
            "`pip install 'yt-dlp[default,deno]'` to install the runtime Deno)"
        )
        if isinstance(error, VideoTransientError):
            return VideoTransientError(error.kind, hint, error.retry_after_seconds)
        return VideoPermanentError(error.kind, hint)
    return error
