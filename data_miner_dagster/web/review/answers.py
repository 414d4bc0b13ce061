"""The JSON routes that the pages' scripts use to fetch questions and send answers."""

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from data_miner_dagster.domain.keys import make_frame_id
from data_miner_dagster.domain.verdicts import ReviewQueue
from data_miner_dagster.web.review.desk import OpenDesk
from data_miner_dagster.web.review.requests import json_of, project_of, word_of
from data_miner_dagster.web.review.wire import (
    answers_from,
    item_json,
    mask_json,
    page_json,
    undone_from,
    verifier_json,
)

MAX_PAGE: Final = 100
_PAGE: Final = 10


class AnswerEndpoints:
    """The JSON routes for a project's questions."""

    def __init__(self, open_desk: OpenDesk) -> None:
        self._open_desk = open_desk

    def queue(self, request: Request) -> Response:
        """Return the next questions in a queue: 10, or `limit` from the query string, but at most `MAX_PAGE`.

        Raises:
            ConfigError: the project, queue, class or video does not exist, or the cursor is invalid.
        """
        query = request.query_params
        limit = query.get("limit", "")
        found = self._open_desk(project_of(request)).page(
            word_of(ReviewQueue, request.path_params["queue"]),
            cursor=query.get("cursor") or None,
            class_name=query.get("class") or None,
            video_key=query.get("video") or None,
            size=min(MAX_PAGE, max(1, int(limit))) if limit.isdecimal() else _PAGE,
        )
        return JSONResponse(page_json(found))

    def item(self, request: Request) -> Response:
        """Return the current state of one question.

        Raises:
            HTTPException: the question does not exist (404).
            ConfigError: the project or queue does not exist.
        """
        queue = word_of(ReviewQueue, request.path_params["queue"])
        found = self._open_desk(project_of(request)).item(queue, request.query_params.get("key", ""))
        if found is None:
            raise HTTPException(404)
        return JSONResponse(item_json(found))

    def masks(self, request: Request) -> Response:
        """Return the masks on a frame."""
        found = self._open_desk(project_of(request)).masks(_frame_of(request))
        return JSONResponse({"masks": [mask_json(mask) for mask in found]})

    def verifier(self, request: Request) -> Response:
        """Return a verifier's answers about the boxes on a frame."""
        found = self._open_desk(project_of(request)).verifier_answers(_frame_of(request))
        return JSONResponse({"verifier": [verifier_json(answer) for answer in found]})

    async def answer(self, request: Request) -> Response:
        """Store answers. An answer that is sent more than once is stored only once.

        Raises:
            ConfigError: the request is malformed, or one of its answers is invalid. The answers before it are stored.
        """
        answers = answers_from(await json_of(request))
        who = request.scope["session"].who
        await run_in_threadpool(lambda: self._open_desk(project_of(request)).answer(answers, who))
        return JSONResponse({})

    async def undo(self, request: Request) -> Response:
        """Undo an answer, and return whether this request undid it. If not, it was already undone or never stored.

        Raises:
            ConfigError: the request is malformed.
        """
        answer_id = undone_from(await json_of(request))
        who = request.scope["session"].who
        undone = await run_in_threadpool(lambda: self._open_desk(project_of(request)).undo(answer_id, who))
        return JSONResponse({"is_undone": undone})


def _frame_of(request: Request) -> str:
    return make_frame_id(request.path_params["video_key"], request.path_params["frame_index"])
