"""The page on which a person says keep or drop: one HTML file that opens from disk and needs no network."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_miner_dagster.export.templating import render


@dataclass(frozen=True, slots=True)
class Question:
    """One frame to decide on. `answer` is "keep", "drop" or "" and comes from an earlier round."""

    frame_id: str
    image_uri: str | None
    prompt: str
    pts_seconds: float
    answer: str


def render_calibration_page(project: str, encoder: str, questions: Sequence[Question], *, plan: str, root: Path) -> str:
    """Return the page.

    Args:
        project: whose frames are asked about.
        encoder: what they were scored by.
        questions: in the order in which they are asked.
        plan: tells the answers of one round, kept in the browser until exported, from another's.
        root: where the command that takes the answers finds the project, wherever they were saved to.
    """
    command = shlex.join(["data-miner", "calibrate", project, "--root", str(root)])
    return render(
        "calibration_page.html.j2",
        project=project,
        encoder=encoder,
        questions=list(questions),
        plan=plan,
        command=command,
    )
