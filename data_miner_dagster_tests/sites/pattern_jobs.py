"""Everything that this package does with foreign text, as jobs whose CPU time can be limited."""

from typing import Any

from data_miner_dagster.domain.addresses import AddressError, ForeignAddress, secret_in_address
from data_miner_dagster.domain.foreign_text import clean_text, printable
from data_miner_dagster.operations.logs import redacted
from data_miner_dagster.sites.errors import classify
from data_miner_dagster.sites.hosts import has_numeric_host, retry_after_seconds
from data_miner_dagster.sites.keys import key_of_site_video
from data_miner_dagster.sites.opt_outs import opt_out_of
from data_miner_dagster.sites.redaction import redact, redact_url
from data_miner_dagster.workers.serving import serve


def _parse(text: str) -> None:
    try:
        ForeignAddress.parse(text)
    except AddressError:
        return


def read(arguments: dict[str, Any]) -> None:
    """Run every function that takes foreign text on one text."""
    text: str = arguments["text"]
    opt_out_of({"X-Robots-Tag": text}, text)
    for function in (redact, redact_url, redacted, classify_message, clean_text, printable, _parse):
        function(text)
    secret_in_address(f"http://h/?{text}")
    has_numeric_host(f"http://{text}")
    retry_after_seconds(text)
    key_of_site_video("site", text)


def classify_message(text: str) -> None:
    """Classify the text as the message of a download's error, which may quote a page."""
    classify(RuntimeError(text))


if __name__ == "__main__":
    serve({"read": read})
