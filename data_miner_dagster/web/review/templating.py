"""The Jinja environment of the review pages. All values are escaped, and a missing value is an error."""

from collections.abc import Mapping
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.phrases import counted


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("data_miner_dagster.web.review"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,  # titles may contain bidirectional controls
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"thousands": "{:,}".format, "counted": counted}
    return environment


def page(template: str, values: Mapping[str, object], *, who: str | None, status: int = 200) -> HTMLResponse:
    """Return a rendered page. `who` is the visitor's name, or None if the visitor is not logged in."""
    return HTMLResponse(_environment().get_template(template).render(**values, who=who), status)


def _printable(value: object) -> object:
    return printable(value) if type(value) is str else value  # Markup is our own, and therefore safe
