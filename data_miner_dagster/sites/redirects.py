"""Follow redirects without passing credentials on to other hosts."""

import urllib.parse
import urllib.request
from typing import Any

from yt_dlp.networking._urllib import RedirectHandler
from yt_dlp.networking.exceptions import RequestError

from data_miner_dagster.domain.addresses import problem_of_address
from data_miner_dagster.domain.secret_names import is_secret_name


def _origin(url: str) -> tuple[str, str, int | None]:
    if problem := problem_of_address(url):
        # errors.py recognizes "unsupported URL", also after yt-dlp has wrapped the error.
        raise RequestError(f"the site redirects to an unsupported URL: {problem}")
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


class DiscreetRedirects(RedirectHandler):  # type: ignore[misc]
    """A handler that follows redirects as yt-dlp does, but sends no credentials to another host, port or scheme."""

    def redirect_request(self, req: urllib.request.Request, *details: Any) -> urllib.request.Request:
        """Return the request for a redirect's target, without credentials if the target has another origin.

        Raises:
            RequestError: the target is not a supported address.
        """
        new: urllib.request.Request = super().redirect_request(req, *details)
        if _origin(req.full_url) != _origin(new.full_url):
            for name in [name for name in new.headers if is_secret_name(name) or name.title() == "Referer"]:
                del new.headers[name]  # a Referer contains the original address with its secrets
        return new
