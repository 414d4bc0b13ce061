"""Proof-of-origin tokens from a provider that the user runs, requested over HTTP through the guarded handler.

YouTube requires such tokens for media requests. yt-dlp queries all registered providers. The provider in this
module is built in, so that no plugin has to be loaded. It uses the protocol of bgutil-ytdlp-pot-provider's server.

Importing this module imports yt-dlp's YouTube extractor and registers the provider.
"""

import json
from datetime import datetime
from typing import Any, Final

from yt_dlp.extractor.youtube.pot._provider import BuiltinIEContentProvider
from yt_dlp.extractor.youtube.pot.provider import (
    PoTokenContext,
    PoTokenProvider,
    PoTokenProviderError,
    PoTokenProviderRejectedRequest,
    PoTokenResponse,
    register_provider,
)
from yt_dlp.extractor.youtube.pot.utils import WEBPO_CLIENTS, get_webpo_content_binding
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import HTTPError, RequestError

from data_miner_dagster.domain.secret_values import remember_secret

_MAX_ANSWER_BYTES: Final = 100_000


@register_provider
class DataMinerPTP(PoTokenProvider, BuiltinIEContentProvider):  # type: ignore[misc]
    """A token provider that queries the server configured for its yt-dlp instance.

    It is unavailable if no server is configured.
    """

    _SUPPORTED_CLIENTS = WEBPO_CLIENTS
    _SUPPORTED_CONTEXTS = (PoTokenContext.GVS, PoTokenContext.PLAYER, PoTokenContext.SUBS)
    _SUPPORTED_EXTERNAL_REQUEST_FEATURES = None  # requests only to the provider

    @property
    def _ydl(self) -> Any:
        return self.ie._downloader  # noqa: SLF001 - the only path from a provider to its yt-dlp

    @property
    def _url(self) -> str | None:
        url: str | None = getattr(self._ydl, "po_token_url", None)
        return url

    def is_available(self) -> bool:
        """Return whether a server is configured."""
        return self._url is not None

    def _real_request_pot(self, request: Any) -> Any:
        binding, _ = get_webpo_content_binding(request)
        if not binding:
            raise PoTokenProviderRejectedRequest("the request contains nothing that a token could be bound to")
        question = {
            "content_binding": binding,
            "bypass_cache": request.bypass_cache,
            "innertube_context": request.innertube_context,
            "challenge": None,
            "proxy": None,  # may contain a password
            "disable_tls_verification": False,
            "source_address": None,
        }
        answer = self._ask(json.dumps(question).encode())
        token = answer.get("poToken")
        if not isinstance(token, str) or not token:
            raise PoTokenProviderError("the token provider's answer contains no poToken", expected=True)
        remember_secret(token)
        return PoTokenResponse(token, expires_at=_seconds_of(answer.get("expiresAt")))

    def _ask(self, question: bytes) -> dict[str, Any]:
        ydl = self._ydl
        try:
            with (
                ydl.guard.asking_for_others(),
                ydl.urlopen(
                    Request(
                        f"{str(self._url).rstrip('/')}/get_pot",
                        data=question,
                        headers={"Content-Type": "application/json"},
                        proxies={"all": None},  # the provider is the user's own
                    )
                ) as response,
            ):
                content = response.read(_MAX_ANSWER_BYTES + 1)
        except HTTPError as error:
            raise PoTokenProviderError(f"the token provider returned HTTP {error.status}", expected=True) from None
        except (RequestError, OSError) as error:
            raise PoTokenProviderError(f"the request to the token provider failed: {error}", expected=True) from None
        try:
            if len(content) > _MAX_ANSWER_BYTES:
                raise ValueError
            answer = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise PoTokenProviderError(
                f"the token provider's answer is not a JSON object of at most {_MAX_ANSWER_BYTES:,} bytes",
                expected=True,
            )
        return answer


def _seconds_of(date: object) -> int | None:
    """Convert an ISO 8601 time to seconds since 1970. Return None for anything else."""
    if not isinstance(date, str):
        return None
    try:
        return int(datetime.fromisoformat(date).timestamp())
    except (ValueError, OverflowError):
        return None
