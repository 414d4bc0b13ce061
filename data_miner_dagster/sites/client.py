"""List the videos at an address, and fetch videos and pictures, through yt-dlp."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from yt_dlp.networking import Request
from yt_dlp.utils import unsmuggle_url

from data_miner_dagster.config.downloading import DownloadingConfig
from data_miner_dagster.domain.addresses import (
    AddressError,
    ForeignAddress,
    NetworkAddress,
    Origin,
    OwnAddress,
    host_of,
    problem_of_address,
)
from data_miner_dagster.domain.errors import SourceError, VideoPermanentError
from data_miner_dagster.domain.foreign_text import clean_text, clean_whole
from data_miner_dagster.domain.reasons import VideoErrorKind
from data_miner_dagster.domain.records import VideoCandidate
from data_miner_dagster.sites.errors import classify, explained, is_out_of_memory, translate
from data_miner_dagster.sites.fetching import Admission, fetch_direct, fetched_video, is_page, too_large, too_slow
from data_miner_dagster.sites.guarded_ydl import GuardedYoutubeDL, is_of_a_site
from data_miner_dagster.sites.keys import (
    is_direct_video_url,
    key_of_refused,
    key_of_site_video,
    key_of_url,
    site_of_key,
)
from data_miner_dagster.sites.metadata import (
    Provenance,
    address_in,
    candidate_of,
    faulty_candidate,
    thumbnails_of,
)
from data_miner_dagster.sites.records import FetchedVideo, ListingLimits, Picture
from data_miner_dagster.sites.redaction import redact, redact_url
from data_miner_dagster.sites.references import expand_address
from data_miner_dagster.sites.transport import Deadlines, Errand

_REFERENCES: Final = ("url", "url_transparent")
_SHOWN: Final = 200
_MAX_PICTURE_BYTES: Final = 10_000_000
_MAX_TILES_A_SIDE: Final = 100  # in a storyboard
_LISTING_SECONDS: Final = 600.0
KNOWN_IN_A_ROW: Final = 10
"""A listing of new videos ends after this many known videos in a row, since a few may be pinned or reordered."""


class SiteClient:
    """A thread-safe client that lists and fetches videos with one configuration.

    Args:
        config: the `platform.downloading` section.
        may_request: called with the site before each request. If it returns False, the current operation fails.
        on_response: called with (site, HTTP status, headers) for each response, before it is processed.
        on_refusal: called with (site, seconds to wait or None, message) when a bot check or rate limit ends a listing
            or a request for pictures. A download raises an error instead.
        before_listing: called with the site before each listing of videos or pictures. It may sleep or raise.
        on_bytes: called whenever bytes of a video arrive.
    """

    def __init__(
        self,
        config: DownloadingConfig,
        *,
        may_request: Callable[[str], bool] = lambda _site: True,
        on_response: Callable[[str, int, Mapping[str, str]], None] = lambda _site, _status, _headers: None,
        on_refusal: Callable[[str, float | None, str], object] = lambda _site, _wait, _message: None,
        before_listing: Callable[[str], None] = lambda _site: None,
        on_bytes: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._on_bytes = on_bytes
        self._before_listing = before_listing
        self._may_request = may_request
        self._on_response = on_response
        self._on_refusal = on_refusal
        self._deadlines = Deadlines()
        self._threads = threading.local()
        self._instances: list[GuardedYoutubeDL] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            instances, self._instances = self._instances, []
        for instance in instances:
            instance.close()
        self._threads = threading.local()
        self._deadlines.close()

    def __enter__(self) -> "SiteClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ydl(self) -> GuardedYoutubeDL:
        known: GuardedYoutubeDL | None = getattr(self._threads, "ydl", None)
        if known is None:
            known = GuardedYoutubeDL(self._config)
            with self._lock:
                self._instances.append(known)
            self._threads.ydl = known
        return known

    @contextmanager
    def _errand(self, ydl: GuardedYoutubeDL, site: str, seconds: float) -> Iterator[Errand]:
        errand = Errand(site, time.monotonic() + seconds, self._may_request, self._on_response)
        self._deadlines.add(errand)
        ydl.guard.errand = errand
        try:
            yield errand
        finally:
            ydl.guard.errand = None
            self._deadlines.remove(errand)
            errand.end()

    def _source_error(self, error: Exception, site: str, shown: str) -> SourceError:
        if is_out_of_memory(error):
            raise MemoryError from None
        kind, message, wait = classify(error)
        if kind in (VideoErrorKind.BOT_CHECK, VideoErrorKind.RATE_LIMITED):
            self._on_refusal(site, wait, f"{site}: {message}")
        return SourceError(f"{shown}: {message}")

    # --- listing ---

    def site_of(self, address: NetworkAddress) -> str:
        """Return the site of an address: its extractor's name, or its host if only the generic extractor accepts it."""
        extractor = self._ydl().extractor_for(expand_address(address))
        name = str(extractor.IE_NAME).partition(":")[0].lower()
        return (host_of(address.text) or name) if extractor.ie_key() == "Generic" else name

    def list_address(
        self, address: OwnAddress, *, source: str, query: str, found_at: datetime, limits: ListingLimits | None = None
    ) -> list[VideoCandidate]:
        """Return the videos at an address, in listing order, without downloading any.

        No request is sent for a direct video URL, or for a page whose extractor handles only single videos. Such a
        video's metadata is read when it is downloaded. Playlists, channels, searches and feeds are listed flat. An
        entry with an unacceptable address is returned with its `refusal`, and an unreadable entry with its `fault`.

        Args:
            address: an http or https address, or one from `sites.queries`. It may contain `{env:NAME}`.
            source: the kind of source, which is stored with each video.
            query: the user's query, which is stored with each video.
            found_at: the time to store with each video.
            limits: when to stop. If None, only the configuration's limit on entries applies.

        Raises:
            SourceError: the address is refused, cannot be listed, or lists no video and `limits` has no known keys.
            ConfigError: a variable in the address is not set, or a reference in the configuration cannot be resolved.
        """
        text = address.text.strip()
        address, shown = OwnAddress(text), redact_url(text)
        expanded = expand_address(address)
        ydl = self._ydl()
        scheme = expanded.partition(":")[0].lower() if ":" in expanded else ""
        if scheme in ("http", "https") and (problem := problem_of_address(expanded)):
            raise SourceError(f"{shown[:_SHOWN]}: {problem}")
        extractor = ydl.extractor_for(expanded)
        if scheme not in ("http", "https") and not (scheme.endswith("search") and extractor.ie_key() != "Generic"):
            raise SourceError(f"{shown}: the address must be http or https{scheme and f', not {scheme!r}'}; correct it")
        if extractor.ie_key() == "Generic":
            if is_direct_video_url(expanded):
                return [VideoCandidate(key_of_url(text), text, source, query, 0, found_at, origin=Origin.OWN)]
        elif extractor.is_single_video(expanded) and (video_id := extractor.get_temp_id(expanded)):
            key = key_of_site_video(str(extractor.IE_NAME), video_id)
            return [VideoCandidate(key, text, source, query, 0, found_at, origin=Origin.OWN)]
        site = self.site_of(address)
        self._before_listing(site)
        with self._errand(ydl, site, _LISTING_SECONDS):
            try:
                asked = Provenance(source, query, found_at)
                found = self._list(ydl, address, expanded, asked, limits or ListingLimits())
            except Exception as error:  # noqa: BLE001  # translated: an extractor may raise anything
                # `from None`: the original may contain signed addresses, which a traceback would print.
                raise self._source_error(error, site, shown) from None
        if not found and not (limits and limits.known_keys):
            other = "`published_after`" if limits and limits.published_after else "the search words"
            raise SourceError(f"{shown}: no video was found there; correct the address or {other}")
        return found

    def _list(
        self,
        ydl: GuardedYoutubeDL,
        address: OwnAddress,
        expanded: str,
        asked: Provenance,
        limits: ListingLimits,
    ) -> list[VideoCandidate]:
        listed = ydl.extract_info(expanded, download=False, process=False)
        for _ in range(5):  # an address may redirect to another
            if listed.get("_type") not in _REFERENCES:
                break
            listed = ydl.extract_info(listed["url"], download=False, process=False, ie_key=listed.get("ie_key"))
        found, num_known = list[VideoCandidate](), 0
        most = min(self._config.limits.max_entries, limits.max_results or self._config.limits.max_entries)
        for entry in filter(None, listed.get("entries", [listed])):
            if len(found) >= most:
                break
            provenance = replace(asked, rank=len(found))
            try:
                candidate = self._candidate(ydl, entry, address, provenance)
            except Exception as error:  # noqa: BLE001 - concerns only this entry
                candidate = faulty_candidate(entry, error, provenance)
            if limits.is_too_old(candidate):
                break
            num_known = num_known + 1 if candidate.video_key in limits.known_keys else 0
            if num_known >= KNOWN_IN_A_ROW:
                break
            found.append(candidate)
        return found

    def _candidate(
        self, ydl: GuardedYoutubeDL, entry: Mapping[str, Any], address: OwnAddress, provenance: Provenance
    ) -> VideoCandidate:
        said = str(entry.get("url") or "")
        ie_key = str(entry.get("ie_key") or entry.get("extractor_key") or "Generic")
        described = partial(candidate_of, entry, provenance=provenance)
        taken: NetworkAddress = address  # the entry is the page's own video
        if entry.get("_type", "video") in _REFERENCES:
            try:
                taken = _foreign(said, ie_key)
            except AddressError as error:
                refusal = f"listed as {redact(clean_text(said, 80) or '')!r}: {error}"
                # Kept without the address, because its cleaned and truncated form may look valid.
                return described(video_key=key_of_refused(said), url="", origin=Origin.FOREIGN, refusal=refusal)
        key = key_of_url(taken.text)
        extractor = ydl.get_info_extractor(ie_key)
        if is_of_a_site(extractor) and (video_id := entry.get("id") or extractor.get_temp_id(taken.text)):
            key = key_of_site_video(str(extractor.IE_NAME), str(video_id))
        origin = Origin.OWN if isinstance(taken, OwnAddress) else Origin.FOREIGN
        return described(video_key=key, url=taken.text, origin=origin)

    # --- fetching ---

    def fetch(
        self,
        video_key: str,
        address: NetworkAddress | str,
        folder: Path,
        *,
        found_at: datetime,
        accept: Callable[[VideoCandidate], None] = lambda _candidate: None,
    ) -> FetchedVideo:
        """Download one video into `folder`, resuming an interrupted earlier call.

        Args:
            video_key: the key of the video, which determines the site.
            address: the address of a page or file. Strings count as foreign. An `OwnAddress` may contain `{env:NAME}`.
            folder: an existing folder that is used only for this video.
            found_at: the time to store in the returned candidate.
            accept: called with the site's metadata before any of the video is fetched. Its exceptions propagate.

        Raises:
            VideoPermanentError, VideoTransientError: the download failed. The message contains no secrets.
            ConfigError: a variable in the address is not set, or a reference in the configuration cannot be resolved.
        """
        address = _network_address(address)
        ydl, config = self._ydl(), self._config
        is_generic = site_of_key(video_key) is None
        site = site_of_key(video_key) or host_of(address.text)
        described = partial(
            candidate_of,
            video_key=video_key,
            url=address.text,
            provenance=Provenance(source="", query="", found_at=found_at),
            origin=Origin.OWN if isinstance(address, OwnAddress) else Origin.FOREIGN,
        )
        admission = Admission(config, described, accept)
        self._download_into(folder, ydl, admission)
        with self._errand(ydl, site, config.max_wall_seconds) as errand:
            try:
                info = _fetched_info(ydl, errand, expand_address(address), folder, admission, is_generic=is_generic)
            except Exception as error:  # noqa: BLE001  # translated: an extractor may raise anything
                raise self._fetch_error(error, admission.refusal, errand) from None
        return fetched_video(info, folder, config, described, errand.promised_bytes)

    def _fetch_error(self, error: Exception, refusal: Exception | None, errand: Errand) -> Exception:
        """Return the error to raise for an exception that may wrap a refusal, an expired deadline or a MemoryError."""
        if is_out_of_memory(error):
            return MemoryError()
        if refusal is not None:
            return refusal
        if errand.is_expired:
            return too_slow(self._config)
        return explained(translate(error), errand.site)

    def _download_into(self, folder: Path, ydl: GuardedYoutubeDL, admission: Admission) -> None:
        """Direct the next download to `folder`, subject to admission and the size limit."""

        def hook(progress: Mapping[str, Any]) -> None:
            self._on_bytes()
            sizes = [clean_whole(progress.get(name)) or 0 for name in ("downloaded_bytes", "total_bytes")]
            if max(sizes) > self._config.max_size_bytes:
                raise too_large(self._config)

        template = f"{str(folder).replace('%', '%%')}/%(format_id).80B.%(ext).8B"
        ydl.params["outtmpl"] = {**ydl.params["outtmpl"], "default": template}
        ydl.params["match_filter"] = admission
        ydl._progress_hooks = [hook]  # noqa: SLF001 - replaces the last download's; yt-dlp can only add hooks

    # --- pictures ---

    def pictures_of(self, video_key: str, address: NetworkAddress, *, with_storyboards: bool) -> list[Picture]:
        """Return a video's best thumbnail and, with `with_storyboards`, the pictures of its widest storyboard, if any.

        Raises:
            SourceError: the page could not be read.
            ConfigError: a variable in the address is not set, or a reference in the configuration cannot be resolved.
        """
        ydl = self._ydl()
        site = site_of_key(video_key) or self.site_of(address)
        self._before_listing(site)
        with self._errand(ydl, site, _LISTING_SECONDS):
            try:
                info = ydl.extract_info(expand_address(address), download=False, process=False)
            except Exception as error:  # noqa: BLE001  # translated: an extractor may raise anything
                raise self._source_error(error, site, redact_url(address.text)) from None
        pictures = [Picture(url) for url in thumbnails_of(info)[:1]]
        boards = [form for form in info.get("formats") or () if _tiles(form) is not None]
        if with_storyboards and boards:
            best = max(boards, key=lambda form: clean_whole(form.get("width")) or 0)
            rows, columns = _tiles(best) or (1, 1)
            pictures += [
                Picture(board.text, rows, columns)
                for fragment in best.get("fragments") or ()
                if (board := address_in(fragment.get("url")))
            ]
        return pictures

    def fetch_picture(self, site: str, url: str) -> bytes:
        """Return the bytes of the picture at `url`. The request is attributed to `site`.

        Raises:
            SourceError: the picture could not be fetched, or is too large.
        """
        ydl = self._ydl()
        with self._errand(ydl, site, 60.0):
            try:
                with ydl.urlopen(Request(url)) as response:
                    content: bytes = response.read(_MAX_PICTURE_BYTES + 1)
            except Exception as error:  # noqa: BLE001  # translated, as above
                raise self._source_error(error, site, redact_url(url)) from None
        if len(content) > _MAX_PICTURE_BYTES:
            raise SourceError(f"{redact_url(url)}: the picture exceeds {_MAX_PICTURE_BYTES:,} bytes and is not used")
        return content


def _fetched_info(
    ydl: GuardedYoutubeDL, errand: Errand, url: str, folder: Path, admission: Admission, *, is_generic: bool
) -> Any:
    """Download a video, and return yt-dlp's metadata for it, or None if nothing was downloaded."""
    if is_generic and is_direct_video_url(url):
        info = fetch_direct(ydl, errand, url, folder, admission)
        if not is_page(info):
            return info
        Path(info["requested_downloads"][0]["filepath"]).unlink()
    # Naming the extractor avoids matching 1,800 patterns again: the key shows that only the generic one applies.
    return ydl.extract_info(url, download=True, ie_key="Generic" if is_generic else None)


def _tiles(form: Mapping[str, Any]) -> tuple[int, int] | None:
    rows, columns = (clean_whole(form.get(name), _MAX_TILES_A_SIDE) for name in ("rows", "columns"))
    return (rows, columns) if rows and columns else None


def _network_address(address: NetworkAddress | str) -> NetworkAddress:
    if not isinstance(address, str):
        return address
    try:
        return ForeignAddress.parse(address)
    except AddressError as error:
        raise VideoPermanentError(VideoErrorKind.POLICY, f"the video's address is not acceptable: {error}") from None


def _foreign(said: str, ie_key: str) -> ForeignAddress:
    """Return the address in a listing entry. Only an extractor of a known site may use schemes other than http(s).

    Raises:
        AddressError: the address is not acceptable.
    """
    if ie_key != "Generic":
        return ForeignAddress.of_extractor(said)
    url, _ = unsmuggle_url(said)  # yt-dlp adds the guid of a feed's item to the URL
    return ForeignAddress.parse(url)
