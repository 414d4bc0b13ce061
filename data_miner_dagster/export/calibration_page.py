"""The page on which a person decides which frames to keep: one HTML file that opens from disk, without a network."""

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
    """Return the page as HTML.

    Args:
        project: the project that the frames belong to.
        encoder: the encoder that scored them.
        questions: the questions, in the order in which they are asked.
        plan: identifies this round, so that the answers kept in the browser are not mixed up with another round's.
        root: the project's root, named in the command that reads the exported answers.
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
