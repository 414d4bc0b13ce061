"""The ASGI application of the review pages, with its routes behind the guard and the gate."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from data_miner_dagster.domain.errors import ConfigError, DataMinerError
from data_miner_dagster.domain.secret_values import with_references
from data_miner_dagster.operations.platform import Platform
from data_miner_dagster.web.guard import App, Guard
from data_miner_dagster.web.review.access import Access
from data_miner_dagster.web.review.answers import AnswerEndpoints
from data_miner_dagster.web.review.calibrating import CalibrationEndpoint
from data_miner_dagster.web.review.desk import OpenDesk
from data_miner_dagster.web.review.gate import IDENTITY, LOGIN_API, LOGIN_PAGE, Gate
from data_miner_dagster.web.review.logins import LoginEndpoints
from data_miner_dagster.web.review.pages import Pages
from data_miner_dagster.web.review.pictures import FramePictures
from data_miner_dagster.web.review.templating import page

_STATIC: Final = Path(__file__).with_name("static")


def review_application(platform: Platform, access: Access, open_desk: OpenDesk, *, port: int) -> App:
    """Return the application for one root. `port` is the port on which it is served."""
    pictures = FramePictures(platform)
    pages = Pages(platform, open_desk, pictures)
    answers = AnswerEndpoints(open_desk)
    logins = LoginEndpoints(access, root=platform.root, port=port)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        pictures.close()

    routes = [
        Route("/", pages.projects),
        Route("/videos/{video_key}", pages.video),
        Route("/projects/{project}", pages.overview),
        Route("/projects/{project}/queues/{queue}", pages.queue),
        Route("/projects/{project}/gallery", pages.gallery),
        Route("/projects/{project}/frames/{video_key}/{frame_index:int}", pages.frame),
        Route("/report/{project}/", pages.report),
        Route("/pictures/{video_key}/{frame_index:int}", pages.picture),
        Route("/api/projects/{project}/queues/{queue}", answers.queue),
        Route("/api/projects/{project}/queues/{queue}/item", answers.item),
        Route("/api/projects/{project}/masks/{video_key}/{frame_index:int}", answers.masks),
        Route("/api/projects/{project}/verifier/{video_key}/{frame_index:int}", answers.verifier),
        Route("/api/projects/{project}/calibration", CalibrationEndpoint(platform, open_desk).state),
        Route("/api/projects/{project}/answers", answers.answer, methods=["POST"]),
        Route("/api/projects/{project}/undo", answers.undo, methods=["POST"]),
        Route(LOGIN_PAGE, logins.login_page),
        Route(LOGIN_API, logins.log_in, methods=["POST"]),
        Route("/api/logout", logins.log_out, methods=["POST"]),
        Route("/api/name", logins.rename, methods=["POST"]),
        Route("/api/session", logins.session),
        Route(IDENTITY, logins.identity),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    handlers: Mapping[type[Exception] | int, Callable[[Request, Exception], Response]] = {
        HTTPException: _failed,
        DataMinerError: _refused,
    }
    inner = Starlette(routes=routes, exception_handlers=dict(handlers), lifespan=lifespan)
    return Guard(Gate(inner, access, port))


def _failed(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _told(request, status, "This page does not exist." if status == 404 else str(error))


def _refused(request: Request, error: Exception) -> Response:
    return _told(request, 400 if isinstance(error, ConfigError) else 503, with_references(str(error)))


def _told(request: Request, status: int, line: str) -> Response:
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": line}, status)
    return page("error.html.j2", {"line": line}, who=getattr(request.scope["session"], "who", None), status=status)
