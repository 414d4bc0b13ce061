"""The page on which a person says keep or drop: one HTML file that opens from disk and needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader

_TEMPLATE: Final = "calibration_page.html.j2"


@dataclass(frozen=True, slots=True)
class Question:
    """One frame to decide on. `answer` is "keep", "drop" or "" and comes from an earlier round."""

    frame_id: str
    image_uri: str | None
    similarity: float
    prompt: str
    pts_seconds: float
    answer: str


def render_calibration_page(project: str, encoder: str, questions: Sequence[Question], *, plan: str) -> str:
    """Return the page. `plan` tells the answers of one round, kept in the browser until exported, from another's."""
    environment = Environment(
        loader=PackageLoader("data_miner_dagster", "export"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(_TEMPLATE).render(project=project, encoder=encoder, questions=questions, plan=plan)
