"""Ask a project's verifier about the project's boxes, and write the answers into the boxes' rows.

Each answer is stored in the catalog as it arrives (catalog/box_answers.py). If the process is killed, only the
answers to pending questions are lost, and no answered question is asked again. The table of boxes depends only on the
stored answers, not on the order in which they arrived.

Belongs here: finding the open questions, staying within the budget, and writing the columns. Does not belong here:
sending questions (endpoint_verifier.py, local_verifier.py), wording them (stages/verification/), or applying the
answers to a release (stages/reviewing/states.py).
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from data_miner_dagster.catalog.box_answers import (
    GivenAnswer,
    add_answers,
    find_answers,
    spent_on_answers,
    tokens_of_answers,
)
from data_miner_dagster.config.detection import DetectionConfig
from data_miner_dagster.config.verification import VerifierConfig
from data_miner_dagster.domain.errors import ConfigError, TransientError, UnreadableImageError
from data_miner_dagster.domain.phrases import counted
from data_miner_dagster.domain.records import PictureFile, RgbImage
from data_miner_dagster.domain.verification import VerifierVerdict
from data_miner_dagster.media.crops import crop_of
from data_miner_dagster.operations.foreign.stored_pictures import StoredPictures, remedy_for_image
from data_miner_dagster.operations.item_faults import ItemFault, ItemGuard, item_guard
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.operations.verification.replies import Crop, Reply
from data_miner_dagster.operations.verification.verifiers import verifier_of
from data_miner_dagster.stages.verification.budgets import Budget
from data_miner_dagster.stages.verification.questions import (
    Shown,
    asking_fingerprint,
    is_asked,
    prompt_of,
    question_key,
    shown_of,
)
from data_miner_dagster.storage.tables import read_metadata

_KEY: Final = "data_miner.verification"

logger = logging.getLogger(__name__)

BoxRow = dict[str, Any]


class VerifierAwayError(TransientError):
    """The verifier is unavailable, and the project is set to wait for it (`when_unavailable: wait`)."""


@dataclass(frozen=True, slots=True)
class FrameBoxes:
    """One frame with its boxes. `BoxVerification.complete` writes answers into `rows`, which have DETECTIONS_SCHEMA."""

    frame_id: str
    video_key: str
    picture: PictureFile
    sha256: str
    resolution_wh: tuple[int, int]
    rows: Sequence[BoxRow]


@dataclass(frozen=True, slots=True)
class VerificationCounts:
    """The number of a project's boxes by verification outcome, stored as metadata of the table of detected frames."""

    verifier: str
    asking: str  # fingerprint of how questions are asked, without the boxes
    confirmed: int = 0
    rejected: int = 0
    cannot_tell: int = 0
    over_budget: int = 0  # boxes that are not asked about until the budget is raised
    waiting: int = 0  # other boxes without an answer, which the next build asks about
    num_tokens: tuple[int, int] = (0, 0)  # input and output tokens of the answers; 0 if they are unknown

    def as_counts(self) -> dict[str, int]:
        """Return the counts for the outcome of a run. Counts of 0 are omitted."""
        return {f"verifier:{name}": getattr(self, name) for name in OUTCOMES if getattr(self, name)}

    @property
    def line(self) -> str:
        """The counts as a single line."""
        told = f"{self.verifier} confirmed {counted(self.confirmed, 'box', 'boxes')}, rejected {self.rejected:,}"
        told += f" and could not judge {self.cannot_tell:,}"
        if self.waiting:
            told += f"; {counted(self.waiting, 'box waits', 'boxes wait')} for an answer"
        if self.over_budget:
            told += f"; {counted(self.over_budget, 'box was', 'boxes were')} not asked about, since the budget is spent"
        return told


OUTCOMES: Final = ("confirmed", "rejected", "cannot_tell", "over_budget", "waiting")
"""The names of the counts in `VerificationCounts`. Each box to verify is included in exactly one of them."""


def read_verification(detected_frames_table: Path) -> VerificationCounts | None:
    """Return the counts from the metadata of a table of detected frames, or None if the project had no verifier."""
    text = read_metadata(detected_frames_table).get(_KEY)
    if text is None:
        return None
    content = json.loads(text)
    return VerificationCounts(**{**content, "num_tokens": tuple(content.get("num_tokens", (0, 0)))})


@dataclass(slots=True)
class Verified:
    """A tally of the answers in the rows completed so far: counts by verdict, token counts, and a digest."""

    by_verdict: Counter[VerifierVerdict] = field(default_factory=Counter)
    num_unanswered: int = 0  # boxes to verify that have no answer
    num_tokens: tuple[int, int] = (0, 0)  # input and output tokens of the answers
    digest: int = 0  # equal for equal answers, in any order

    def add(self, key: str, verdict: VerifierVerdict, reason: str) -> None:
        """Count an answer, and add it to the digest."""
        self.by_verdict[verdict] += 1
        said = hashlib.sha256(f"{key}:{verdict.value}:{reason}".encode()).digest()
        self.digest = (self.digest + int.from_bytes(said[:16], "big")) % (1 << 128)


@dataclass(frozen=True, slots=True)
class _Question:
    key: str
    shown: Shown
    prompt: str


class BoxVerification:
    """The verification of one build of a project's boxes. Call `ask` first, then `complete` for each video.

    If the platform is offline, the verifier's settings are not checked.

    Raises:
        ConfigError: the verifier is not configured or not allowed, its key is missing, its address is not allowed, or
            `max_cost` is set although its price is unknown.
        ModelError: the verifier's model is neither available nor downloadable.
    """

    def __init__(self, platform: Platform, project: str, config: DetectionConfig) -> None:
        assert config.verifier is not None
        self._platform = platform
        self._project = project
        self._config: VerifierConfig = config.verifier
        self._verifier = verifier_of(platform, project, config)
        self._prompts = {wanted.class_name: prompt_of(wanted, config.verifier) for wanted in config.class_prompts}
        spent = spent_on_answers(platform.database, project)
        self._budget = Budget(config.verifier, spent.num_answers, spent.cost, top_price=spent.top_price)
        self.asking: Final = asking_fingerprint(config.verifier, self._verifier.fingerprint)
        self.verified = Verified()
        """The answers in the completed rows."""

    def ask(self, videos: Iterable[Sequence[FrameBoxes]]) -> None:
        """Ask about every box in `videos` that needs verification and has no answer, within the budget.

        If the platform is offline, nothing is asked, and boxes without a stored answer stay without one.

        Args:
            videos: the frames, one video at a time.

        Raises:
            VerifierAwayError: the verifier is unavailable, and the project waits for it.
            ConfigError: the endpoint's settings are wrong, or the endpoint reports no token counts although a cost
                limit is set.
            ModelError: the model is missing or cannot be loaded.
            SystematicFaultError: all crops or frames (three or more), or ten in a row, cause the same internal error.
        """
        if self._platform.is_offline:
            return
        with (
            StoredPictures(self._platform.config.extraction) as pictures,
            item_guard("verification") as guard,
            closing(self._verifier.replies(self._open_crops(videos, pictures, guard), self._keep)) as replies,
        ):
            for reply in replies:
                self._platform.check_run()
                self._count(reply)
        logger.info("verification: %s", self.line)
        if self._verifier.why_away is not None and self._config.when_unavailable == "wait":
            raise VerifierAwayError(
                f"{self._verifier.why_away}; the project waits for the verifier "
                f"({counted(self._budget.num_now, 'answer of this run is', 'answers of this run are')} stored); "
                "set detection.verifier.when_unavailable to `release` to build without it"
            )

    @property
    def line(self) -> str:
        """The verifier's name, the number and cost of its answers, and why it is unavailable, on one line."""
        away = f"; unavailable: {self._verifier.why_away}" if self._verifier.why_away is not None else ""
        return f"{self._verifier.name} {self._budget.line}{away}"

    def complete(self, frames: Sequence[FrameBoxes]) -> None:
        """Write the stored answers about a video's boxes into the boxes' rows, and count them."""
        asked = [(row, question) for frame in frames for row, question in self._questions_of(frame)]
        keys = [question.key for _, question in asked]
        answers = find_answers(self._platform.database, keys)
        read, written = tokens_of_answers(self._platform.database, set(keys))
        self.verified.num_tokens = (self.verified.num_tokens[0] + read, self.verified.num_tokens[1] + written)
        for row, question in asked:
            answer = answers.get(question.key)
            if answer is None:
                self.verified.num_unanswered += 1
                continue
            self.verified.add(question.key, answer.verdict, answer.reason)
            row |= {
                "verifier_verdict": answer.verdict.value,
                "verifier_reason": answer.reason,
                "verifier": self._verifier.name,
            }

    def counts(self) -> VerificationCounts:
        """Return the counts for all boxes that were passed to `complete`."""
        by_verdict, num_unanswered = self.verified.by_verdict, self.verified.num_unanswered
        num_over_budget = min(self._budget.num_over, num_unanswered)
        return VerificationCounts(
            self._verifier.name,
            self.asking,
            confirmed=by_verdict[VerifierVerdict.CONFIRMED],
            rejected=by_verdict[VerifierVerdict.REJECTED],
            cannot_tell=by_verdict[VerifierVerdict.CANNOT_TELL],
            over_budget=num_over_budget,
            waiting=num_unanswered - num_over_budget,
            num_tokens=self.verified.num_tokens,
        )

    def metadata(self) -> dict[str, str]:
        """Return the counts as metadata of a table, for `read_verification`."""
        return {_KEY: json.dumps(asdict(self.counts()))}

    def _questions_of(self, frame: FrameBoxes) -> Iterator[tuple[BoxRow, _Question]]:
        for row in frame.rows:
            if not is_asked(row["confidence"], self._config):
                continue
            box = (row["x_min"], row["y_min"], row["x_max"], row["y_max"])
            shown = shown_of(box, frame.resolution_wh, self._config)
            if shown is not None:
                prompt = self._prompts[row["class_name"]]
                yield (
                    row,
                    _Question(question_key(frame.sha256, shown, prompt, self._verifier.fingerprint), shown, prompt),
                )

    def _open_crops(
        self, videos: Iterable[Sequence[FrameBoxes]], pictures: StoredPictures, guard: ItemGuard
    ) -> Iterator[Crop]:
        """Yield the crops of the open questions within the budget, in order of video, frame and box.

        Only frames with an open question are decoded. Questions about unreadable frames are left out.
        """
        asked: set[str] = set()
        for frames in videos:
            questions = [(frame, question) for frame in frames for _, question in self._questions_of(frame)]
            known = find_answers(self._platform.database, [question.key for _, question in questions])
            image: tuple[str, RgbImage | None] | None = None
            for frame, question in questions:
                if question.key in known or question.key in asked:
                    continue
                if self._verifier.why_away is not None:
                    return
                if not self._budget.take():
                    continue
                if image is None or image[0] != frame.frame_id:
                    image = frame.frame_id, guard.attempt(frame.video_key, partial(self._read, pictures, frame), _note)
                if image[1] is None:
                    self._budget.settle(is_answered=False, cost=None)
                    continue
                asked.add(question.key)
                rgb = crop_of(image[1], question.shown.window, question.shown.size_wh)
                yield Crop(question.key, frame.video_key, question.prompt, rgb)

    def _read(self, pictures: StoredPictures, frame: FrameBoxes) -> RgbImage | None:
        try:
            return pictures.read(frame.picture, frame.sha256)
        except UnreadableImageError as error:
            remedy = remedy_for_image(self._project, frame.video_key)
            logger.warning("verification: left out frame %s: %s; %s", frame.frame_id, error, remedy)
            return None

    def _keep(self, replies: Sequence[Reply]) -> None:
        given = [
            GivenAnswer(
                reply.crop.question_key,
                reply.crop.video_key,
                reply.answer,
                reply.input_tokens,
                reply.output_tokens,
                reply.cost,
            )
            for reply in replies
            if reply.answer is not None
        ]
        add_answers(self._platform.database, self._project, self._verifier.fingerprint, given)

    def _count(self, reply: Reply) -> None:
        self._budget.settle(is_answered=reply.answer is not None, cost=reply.cost)
        if reply.answer is None:
            logger.info("verification: a box in video %s has no answer: %s", reply.crop.video_key, reply.line)
            return
        if self._config.max_cost is not None and reply.cost is None:
            raise ConfigError(
                f"detection.verifier.max_cost is {self._config.max_cost:g}, but endpoint {self._verifier.name} reports "
                "no token counts; set its price_per_box in platform.models.endpoints, or remove max_cost"
            )


def _note(_fault: ItemFault) -> None:
    """Do nothing about a fault: the guard logs it, and the boxes on the frame get no answer."""
