"""The wire format between browser and server: questions as JSON, and answers from JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_miner_dagster.domain.errors import ConfigError
from data_miner_dagster.domain.foreign_text import printable
from data_miner_dagster.domain.keys import split_frame_id
from data_miner_dagster.domain.phrases import phrase_of
from data_miner_dagster.domain.verdicts import RelativeBox, ReviewQueue, ShownBox, VerdictWord
from data_miner_dagster.operations.reviewing.masks import ShownMask
from data_miner_dagster.operations.reviewing.records import Answer, Page, ReviewBox, ReviewFrame, ReviewItem
from data_miner_dagster.operations.reviewing.verifier_answers import ShownAnswer

MAX_ANSWERS: Final = 500
"""The maximum number of answers in one request. The pages send fewer."""
_LINKED: Final = ("http://", "https://")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Shown(_Record):
    class_name: str = Field(max_length=500)
    box: RelativeBox
    detector: str | None = Field(None, max_length=500)
    revision: str | None = Field(None, max_length=500)
    confidence: float | None = None


class _Answer(_Record):
    answer_id: str = Field(min_length=8, max_length=100, pattern=r"^[A-Za-z0-9-]+$")
    word: VerdictWord
    queue: ReviewQueue
    frame_id: str = Field(max_length=300)
    pts_seconds: float = Field(ge=0)
    shown: _Shown | None = None
    new_class_name: str | None = Field(None, max_length=500)
    new_box: RelativeBox | None = None
    other_frame_id: str | None = Field(None, max_length=300)
    replaces: str | None = Field(None, max_length=100)


_AnyRecord = TypeVar("_AnyRecord", bound=_Record)


class _Answers(_Record):
    answers: tuple[_Answer, ...] = Field(max_length=MAX_ANSWERS)


class _Undo(_Record):
    answer_id: str = Field(max_length=100)


def answers_from(content: object) -> list[Answer]:
    """Return the answers in a request.

    Raises:
        ConfigError: the request does not have the form that the pages send.
    """
    return [_answer(sent) for sent in _validated(_Answers, content).answers]


def undone_from(content: object) -> str:
    """Return the id of the answer that a request undoes.

    Raises:
        ConfigError: the request does not have the form that the pages send.
    """
    return _validated(_Undo, content).answer_id


def _validated(model: type[_AnyRecord], content: object) -> _AnyRecord:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(f"the request is malformed ({place}: {problem['msg']}); reload the page") from None


def _answer(sent: _Answer) -> Answer:
    shown = None if sent.shown is None else ShownBox(**sent.shown.model_dump())
    return Answer(**{**sent.model_dump(), "shown": shown})


def page_json(page: Page) -> dict[str, object]:
    """Return a page of a queue in its wire format."""
    return {
        "items": [item_json(item) for item in page.items],
        "num_open": page.num_open,
        "next_cursor": page.next_cursor,
    }


def item_json(item: ReviewItem) -> dict[str, object]:
    """Return a question in its wire format."""
    return {
        "key": item.key,
        "why": printable(item.why),
        "frame": _frame_json(item.frame),
        "other": None if item.other is None else _frame_json(item.other),
        "similarity": item.similarity,
        "tier": item.tier,
    }


def _frame_json(frame: ReviewFrame) -> dict[str, object]:
    width, height = frame.resolution_wh
    address = picture_address(frame.frame_id)
    return {
        "frame_id": frame.frame_id,
        "video_key": frame.place.video_key,
        "pts_seconds": frame.place.pts_seconds,
        "width": width,
        "height": height,
        "picture": address,
        "small_picture": f"{address}?{urlencode({'small': 1})}",
        "title": printable(frame.video_title),
        "url": frame.video_url if frame.video_url.startswith(_LINKED) else None,
        "boxes": [_box_json(box) for box in frame.boxes],
        "verdicts": {word.value: answer_id for word, answer_id in (frame.verdicts or {}).items()},
    }


def picture_address(frame_id: str) -> str:
    """Return the path of a frame's picture on the server."""
    video_key, frame_index = split_frame_id(frame_id)
    return f"/pictures/{video_key}/{frame_index}"


def _box_json(box: ReviewBox) -> dict[str, object]:
    shown = box.shown
    return {
        "class_name": box.class_name,
        "box": list(box.box),
        "state": box.state.value,
        "shown": {
            "class_name": shown.class_name,
            "box": list(shown.box),
            "detector": shown.detector,
            "revision": shown.revision,
            "confidence": _finite(shown.confidence),
        },
        "num_agreeing_detectors": box.num_agreeing_detectors,
        "verdict": None if box.verdict is None else box.verdict.value,
        "answer_id": box.answer_id,
        "is_asked": box.is_asked,
    }


def mask_json(mask: ShownMask) -> dict[str, object]:
    """Return a mask in its wire format."""
    return {"class_name": mask.class_name, "box": list(mask.box), "path": mask.path}


def verifier_json(shown: ShownAnswer) -> dict[str, object]:
    """Return a verifier's answer about a box in its wire format. The box is in pixels of the frame."""
    return {
        "class_name": shown.class_name,
        "corners": list(shown.box_xyxy),
        "verdict": shown.answer.verdict.value,
        "text": phrase_of(f"verifier:{shown.answer.verdict.value}"),
        "reason": printable(shown.answer.reason),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def class_choices(class_names: Sequence[str], shown: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """Return a project's classes for the picker, each with its name and the text to show.

    The text comes from `shown`, or is the name if `shown` lacks the class.
    """
    return [{"name": name, "text": printable((shown or {}).get(name, name))} for name in class_names]
